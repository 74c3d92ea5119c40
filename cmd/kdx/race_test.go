//go:build race

package main

// raceDetector: tests that open dumps by the hundred do less, as they look for wrong answers, not for races; TestConcurrent does. It
// makes a kernel's opening and its commands ten times as long.
const raceDetector = true
