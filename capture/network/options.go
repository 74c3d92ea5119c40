package network

import (
	"fmt"
	"time"
)

// Options are how interfaces are brought up.
type Options struct {
	// Limit is how long interface, carrier and addresses are waited for, all together; 0 is a minute.
	Limit time.Duration
	// ResolvConf is written with the name servers that are known then; "" is /etc/resolv.conf.
	ResolvConf string
	// Log is told what is waited for and what was set, a line each; nil tells nobody.
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
