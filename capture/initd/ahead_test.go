package initd

import (
	"slices"
	"strings"
	"testing"

	"kdx/capture/config"
	"kdx/capture/plan"
)

// TestAhead: what is started ahead of its turn changes nothing but the time it takes.
func TestAhead(t *testing.T) {
	const started = "was started ahead and has ended"
	for _, tt := range []struct {
		name, fakes string
		change      func(*plan.Plan)
		meminfo     string
		trace       []string
		log         string
	}{
		{name: "saved", trace: []string{"device0", "save0", "triage0", "log0", "sync"}},
		{name: "looked at while read back", fakes: "save0=written,", trace: []string{"device0", "save0", "unproven guest-x", "triage0", "log0", "sync"}},
		{name: "ended before its turn", fakes: "ahead save=fail;ahead triage=killed;ahead log=panic;device0=slow;save0=written,", trace: []string{"device0", "save0", "triage0", "log0", "sync"}, log: "save " + started},
		{name: "not proven", fakes: "save0=written,fail", trace: []string{"device0", "save0", "unproven guest-x", "device1", "save1", "triage1", "log1", "sync"}},
		{name: "not understood", fakes: "save0=panic;save0plain=written,", trace: []string{"device0", "save0", "save0plain", "unproven guest-x", "triage0", "log0", "sync"}},
		{name: "nothing works", fakes: "device0=fail;device1=fail", trace: []string{"device0", "device1", "sync"}},
		{
			name: "over the network", fakes: "save0=written,", trace: []string{"network", "save0", "triage0", "log0", "sync"},
			change: func(p *plan.Plan) {
				p.Targets[0] = plan.Target{Target: config.Target{Kind: config.SFTP, Host: "h", Path: "/d"}, Configured: "sftp://h/d"}
			},
		},
		{name: "short of memory", meminfo: "MemTotal: 60000 kB\nMemFree: 40000 kB\nMemAvailable: 40000 kB\n", fakes: "ahead save=fail;save0=written,", trace: []string{"device0", "save0", "triage0", "log0", "sync"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.fakes, tt.change)
			m.sys.CPUs = 2
			if tt.meminfo != "" {
				m.write("proc/meminfo", tt.meminfo)
			}
			trace, log := m.run()
			if !slices.Equal(trace, tt.trace) {
				t.Errorf("ran %q; want %q\n%s", trace, tt.trace, log)
			}
			if !strings.Contains(log, tt.log) || tt.log == "" && strings.Contains(log, started) {
				t.Errorf("the log: %s", log)
			}
			if !slices.Equal(m.reboots, []uint32{restart}) {
				t.Errorf("reboots: %#x", m.reboots)
			}
		})
	}
}
