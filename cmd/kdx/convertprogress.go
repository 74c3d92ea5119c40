package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"kdx/analyze/reduce"
)

// meter shows how far a conversion is: as a line on a terminal that is written anew, or as a line of JSON each time.
type meter struct {
	w    io.Writer
	json bool
	now  func() time.Time

	mu    sync.Mutex
	start time.Time // of the step
	last  time.Time
	step  string
	p     reduce.Progress
	shown bool
}

// How often a meter shows something.
const (
	meterEvery     = 200 * time.Millisecond
	meterEveryJSON = time.Second
)

func newMeter(w io.Writer, json bool) *meter { return &meter{w: w, json: json, now: time.Now} }

// report takes progress; a step's first is always shown, and its last.
func (m *meter) report(p reduce.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if p.Step != m.step {
		m.step, m.start, m.last = p.Step, now, time.Time{}
	}
	m.p = p
	every := meterEvery
	if m.json {
		every = meterEveryJSON
	}
	if now.Sub(m.last) < every && p.Done < p.Total {
		return
	}
	m.last = now
	if m.json {
		m.document(now)
		return
	}
	fmt.Fprintf(m.w, "\r%s\x1b[K", m.line(now))
	m.shown = true
}

// end takes the line away.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shown {
		io.WriteString(m.w, "\r\x1b[K")
		m.shown = false
	}
}

// rate is bytes of memory a second, and how much longer the step will take.
func (m *meter) rate(now time.Time) (perSecond float64, left time.Duration, known bool) {
	took := now.Sub(m.start).Seconds()
	if took < 0.2 || m.p.Done == 0 || m.p.Total == 0 {
		return 0, 0, false
	}
	perSecond = float64(m.p.In) / took
	left = time.Duration(took * float64(m.p.Total-min(m.p.Done, m.p.Total)) / float64(m.p.Done) * float64(time.Second))
	return perSecond, left, true
}

func (m *meter) line(now time.Time) string {
	s := m.p.Step
	if m.p.Total > 0 {
		s += fmt.Sprintf(" %d%%", 100*m.p.Done/m.p.Total)
	}
	if m.p.In > 0 {
		total := float64(m.p.In) / float64(max(1, m.p.Done)) * float64(m.p.Total)
		s += fmt.Sprintf(" of %s", bytesText(int64(total)))
	}
	if rate, left, ok := m.rate(now); ok && m.p.In > 0 {
		s += fmt.Sprintf(", %s/s, %s left, %s written", bytesText(int64(rate)), left.Round(time.Second), bytesText(m.p.Out))
	}
	return s
}

func (m *meter) document(now time.Time) {
	type document struct {
		Step    string   `json:"step"`
		Done    uint64   `json:"pages_done"`
		Total   uint64   `json:"pages_total"`
		In      int64    `json:"bytes_in"`
		Out     int64    `json:"bytes_out"`
		Seconds float64  `json:"seconds"`
		Rate    *float64 `json:"bytes_per_second"`
		Left    *float64 `json:"seconds_left"`
	}
	d := document{Step: m.p.Step, Done: m.p.Done, Total: m.p.Total, In: m.p.In, Out: m.p.Out, Seconds: now.Sub(m.start).Seconds()}
	if rate, left, ok := m.rate(now); ok {
		seconds := left.Seconds()
		d.Rate, d.Left = &rate, &seconds
	}
	if b, err := json.Marshal(d); err == nil {
		fmt.Fprintf(m.w, "%s\n", b)
	}
}

// bytesText is a size for a person.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
