package view

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"kdx/analyze/printk"
)

// Log is the kernel's log. Its JSON is an array of LogRecord.
type Log struct {
	Records iter.Seq2[printk.Record, error]
	Missing func(error) // told of each message that could not be read

	NoTime    bool // -t
	Level     bool // -m
	Caller    bool // -c
	Dict      bool // -d
	WallClock bool // -T
	// Boot is the wall-clock time at which the log's clock stood at 0; needed for WallClock.
	Boot time.Time
}

// LogRecord is one message in JSON.
type LogRecord struct {
	Seq       uint64     `json:"seq"`
	TimeNsec  uint64     `json:"time_ns"` // since boot
	Time      *time.Time `json:"time,omitempty"`
	Level     uint8      `json:"level"`
	Facility  uint8      `json:"facility"`
	Caller    string     `json:"caller,omitempty"` // "T123" or "C0"
	Text      string     `json:"text"`
	Subsystem string     `json:"subsystem,omitempty"`
	Device    string     `json:"device,omitempty"`
}

// AuditLog is log -a. Its JSON is an array of the messages.
type AuditLog []string

// Text writes a message a line.
func (a AuditLog) Text(w io.Writer, o Options) error {
	if len(a) == 0 {
		_, err := io.WriteString(w, "kernel audit log is empty\n")
		return err
	}
	return Lines(a).Text(w, o)
}

func caller(r *printk.Record) string {
	switch {
	case !r.HasCaller:
		return ""
	case r.CallerCPU:
		return fmt.Sprintf("C%d", r.Caller)
	}
	return fmt.Sprintf("T%d", r.Caller)
}

// Text writes the log as dmesg does.
func (l *Log) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for rec, err := range l.Records {
		if err != nil {
			l.Missing(err)
			continue
		}
		line = l.appendRecord(line[:0], &rec)
		if _, err := bw.Write(line); err != nil {
			return err
		}
	}
	return bw.Flush()
}

func (l *Log) appendRecord(b []byte, r *printk.Record) []byte {
	start := len(b)
	switch {
	case l.NoTime:
	case l.WallClock:
		b = l.Boot.Add(time.Duration(r.TimeNsec)).AppendFormat(append(b, '['), "Mon Jan _2 15:04:05 MST 2006] ")
	default:
		b = fmt.Appendf(b, "[%5d.%06d] ", r.TimeNsec/1e9, r.TimeNsec%1e9/1000)
	}
	if l.Caller && r.HasCaller {
		b = fmt.Appendf(b, "[%6s] ", caller(r))
	}
	if l.Level {
		b = fmt.Appendf(b, "<%d>", r.Level)
	}
	indent := strings.Repeat(" ", len(b)-start)
	text := r.Text
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		switch {
		case c == '\n':
			b = append(b, '\n')
			if len(text) > 1 {
				b = append(b, indent...)
			}
		case c == utf8.RuneError && n == 1, c < ' ' && c != '\t', c == 0x7f, c >= 0x80 && c < 0xa0:
			for _, x := range text[:n] {
				b = fmt.Appendf(b, `\x%02x`, x)
			}
		default:
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	if len(r.Text) == 0 || r.Text[len(r.Text)-1] != '\n' {
		b = append(b, '\n')
	}
	if l.Dict && r.Subsystem != "" {
		b = fmt.Appendf(b, "%sSUBSYSTEM=%s\n%sDEVICE=%s\n", indent, Printable(r.Subsystem), indent, Printable(r.Device))
	}
	return b
}

// StreamJSON writes the array record by record.
func (l *Log) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for rec, err := range l.Records {
		if err != nil {
			l.Missing(err)
			continue
		}
		j := LogRecord{Seq: rec.Seq, TimeNsec: rec.TimeNsec, Level: rec.Level, Facility: rec.Facility, Caller: caller(&rec),
			Text: string(rec.Text), Subsystem: rec.Subsystem, Device: rec.Device}
		if l.WallClock {
			t := l.Boot.Add(time.Duration(rec.TimeNsec)).UTC()
			j.Time = &t
		}
		if err := a.add(j); err != nil {
			return err
		}
	}
	return a.end()
}

// Printable is s with control characters and broken UTF-8 as \xHH: names from a dump go through it where they stand in
// columns.
func Printable(s string) string {
	clean := true
	for _, c := range s {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == utf8.RuneError && n == 1 || c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			for i := range n {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			}
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
