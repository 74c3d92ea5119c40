package main

import (
	"context"
	"fmt"
	"strings"
)

// checkLog: every record that /dev/kmsg had is there with its number, time and text, and the log goes on to the panic.
func checkLog(ctx context.Context, s *subject) (string, error) {
	var log []struct {
		Seq  uint64 `json:"seq"`
		Ns   uint64 `json:"time_ns"`
		Text string `json:"text"`
	}
	if err := s.ask(ctx, []string{"log"}, &log); err != nil {
		return "", err
	}
	bySeq := map[uint64]int{}
	panics := false
	for i, r := range log {
		bySeq[r.Seq] = i
		panics = panics || strings.Contains(r.Text, "Kernel panic - not syncing: "+s.way.panics)
	}
	var d differences
	for _, text := range s.truth.Kmsg {
		want, err := parseKmsg(text)
		if err != nil {
			return "", err
		}
		i, ok := bySeq[want.Seq]
		if !ok {
			if len(log) > 0 && want.Seq < log[0].Seq {
				continue // overwritten by what the kernel said while dying
			}
			d.add("record %d %q is missing", want.Seq, want.Text)
			continue
		}
		got := log[i]
		if strings.TrimRight(got.Text, "\n") != want.Text || got.Ns/1000 != want.Usec {
			d.add("record %d = %d us %q; want %d us %q", want.Seq, got.Ns/1000, got.Text, want.Usec, want.Text)
		}
	}
	if !panics && s.way.name != "live" {
		d.add("no record says %q", "Kernel panic - not syncing: "+s.way.panics)
	}
	return fmt.Sprintf("%d records, %d of the guest's", len(log), len(s.truth.Kmsg)), d.err()
}
