package view

import (
	"reflect"
	"time"

	"kdx/analyze/printk"
)

// logColumns are the fields of LogRecord, for where and sort; a nil answer is a value that the message lacks.
var logColumns = []struct {
	name string
	t    reflect.Type
	get  func(l *Log, r *printk.Record) any
}{
	{"seq", reflect.TypeFor[uint64](), func(_ *Log, r *printk.Record) any { return r.Seq }},
	{"time_ns", reflect.TypeFor[uint64](), func(_ *Log, r *printk.Record) any { return r.TimeNsec }},
	{"time", reflect.TypeFor[string](), func(l *Log, r *printk.Record) any {
		if !l.WallClock {
			return nil
		}
		return l.Boot.Add(time.Duration(r.TimeNsec)).UTC().Format(time.RFC3339Nano)
	}},
	{"level", reflect.TypeFor[uint8](), func(_ *Log, r *printk.Record) any { return r.Level }},
	{"facility", reflect.TypeFor[uint8](), func(_ *Log, r *printk.Record) any { return r.Facility }},
	{"caller", reflect.TypeFor[string](), func(_ *Log, r *printk.Record) any { return caller(r) }},
	{"text", reflect.TypeFor[string](), func(_ *Log, r *printk.Record) any { return string(r.Text) }},
	{"subsystem", reflect.TypeFor[string](), func(_ *Log, r *printk.Record) any { return r.Subsystem }},
	{"device", reflect.TypeFor[string](), func(_ *Log, r *printk.Record) any { return r.Device }},
}

func (l *Log) rowsField() string { return "Records" }

func (l *Log) columnNames() []string {
	var out []string
	for _, c := range logColumns {
		out = append(out, c.name)
	}
	return out
}

func (l *Log) columnNamed(name string) (get func(row reflect.Value) reflect.Value, t reflect.Type, ok bool) {
	for _, c := range logColumns {
		if c.name == name {
			return func(row reflect.Value) reflect.Value {
				r := row.Interface().(printk.Record)
				return reflect.ValueOf(c.get(l, &r))
			}, c.t, true
		}
	}
	return nil, nil, false
}
