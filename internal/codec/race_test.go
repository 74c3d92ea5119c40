//go:build race

package codec

// raceEnabled: pools then drop some of what they hold, so that allocations mean nothing.
const raceEnabled = true
