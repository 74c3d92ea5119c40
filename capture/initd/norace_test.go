//go:build !race

package initd

const raceDetector = false
