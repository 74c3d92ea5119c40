//go:build race

package main

// raceDetector: tests that open dumps by the hundred do less, as they look for wrong answers, not for races; TestConcurrent does.
const raceDetector = true
