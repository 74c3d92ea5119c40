package storage

import (
	"fmt"
	"time"
)

// Options are how a device is brought up.
type Options struct {
	// Limit is how long disks are waited for; 0 is a minute. Arrays that lack a member are started without it after half of it.
	Limit time.Duration
	// Log is told what is waited for and what was made, a line each; nil tells nobody.
	Log func(string)
}

func (o Options) logf(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

func (o Options) limit() time.Duration {
	if o.Limit <= 0 {
		return time.Minute
	}
	return o.Limit
}
