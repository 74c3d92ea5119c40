//go:build race

package initd

// raceDetector: its runtime has memory of its own, and another way to say that it got no more.
const raceDetector = true
