package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// queuedSignals is one of a task's two queues.
type queuedSignals struct {
	Set   string `json:"signal"`
	Queue []struct {
		Signal int    `json:"signal"`
		Code   int    `json:"code"`
		Info   string `json:"siginfo"`
	} `json:"queue"`
}

// checkQueued holds what sig says is queued against what the workload sent: of the process that blocks all signals, which and in what order, who sent them and
// with what value. Of every task each signal of a set is in the queue of that set.
func checkQueued(ctx context.Context, s *subject) (string, error) {
	const value = "0x6b6478"
	victim, sender := 0, 0
	for _, t := range s.truth.Tasks {
		sets := saidSets(t.Status)
		if sets["SigPnd"] == 1<<11|1<<35 && sets["ShdPnd"] == 1<<9|1<<35 {
			said, err := t.said()
			if err != nil {
				return "", err
			}
			victim, sender = said.TID, said.PPID
		}
	}
	if victim == 0 {
		return "", skip("no task of the guest had signals with values waiting")
	}
	if s.way.name == "oom" {
		return "", skip("the kernel may have killed who waits")
	}
	var states []struct {
		PID     int           `json:"pid"`
		Shared  queuedSignals `json:"shared_pending"`
		Threads []struct {
			Private queuedSignals `json:"private_pending"`
		} `json:"threads"`
	}
	if err := s.ask(ctx, []string{"foreach sig"}, &states); err != nil {
		return "", err
	}
	var d differences
	queued, found := 0, false
	var infos []string
	for _, x := range states {
		if len(x.Threads) != 1 {
			d.add("task %d has %d threads", x.PID, len(x.Threads))
			continue
		}
		queues := []queuedSignals{x.Shared, x.Threads[0].Private}
		for _, q := range queues {
			in := uint64(0)
			for _, one := range q.Queue {
				in |= 1 << (one.Signal - 1)
			}
			if set := setOf(q.Set) &^ (1 << 8); set&^in != 0 || in&^setOf(q.Set) != 0 { // SIGKILL may come without an entry
				d.add("task %d: the set %s, the queue has %x", x.PID, q.Set, in)
			}
			queued += len(q.Queue)
		}
		if x.PID != victim {
			continue
		}
		found = true
		for i, want := range []string{"10 from 0, 36 from -1, 36 from -1", "12 from -6, 36 from -1"} { // SI_USER, SI_QUEUE, SI_TKILL
			var have []string
			for _, one := range queues[i].Queue {
				have = append(have, fmt.Sprintf("%d from %d", one.Signal, one.Code))
				if one.Signal == 36 {
					infos = append(infos, one.Info)
				}
			}
			if got := strings.Join(have, ", "); got != want {
				d.add("task %d, queue %d: %s; want %s", victim, i, got, want)
			}
		}
	}
	if !found {
		d.add("task %d is missing", victim)
	}
	for _, info := range infos {
		var is struct {
			Value struct {
				PID   int `json:"_pid"`
				Value struct {
					Pointer string `json:"sival_ptr"`
				} `json:"_sigval"`
			} `json:"value"`
		}
		if err := s.ask(ctx, []string{fmt.Sprintf("p ((struct kernel_siginfo *)%s)->_sifields._rt", info)}, &is); err != nil {
			return "", err
		}
		if is.Value.Value.Pointer != value || is.Value.PID != sender {
			d.add("siginfo %s: value %s from process %d; want %s from %d", info, is.Value.Value.Pointer, is.Value.PID, value, sender)
		}
	}
	return fmt.Sprintf("%d queued, %d of them with a value", queued, len(infos)), d.err()
}

// checkInflight holds dev -d and the tags that are taken, as sbitmapq says, against /sys/block/DISK/inflight: one read that nobody ever answers, and none of disks
// that stand still.
func checkInflight(ctx context.Context, s *subject) (string, error) {
	said := map[string][2]uint64{}
	for name, text := range s.truth.Proc {
		disk, ok := strings.CutSuffix(name, "/inflight")
		if !ok {
			continue
		}
		var n [2]uint64
		if _, err := fmt.Sscan(text, &n[0], &n[1]); err != nil {
			return "", fmt.Errorf("%s: %q", name, text)
		}
		said[strings.TrimPrefix(disk, "/sys/block/")] = n
	}
	if len(said) == 0 {
		return "", skip("the guest did not say what was in flight")
	}
	var disks []struct {
		devDisk
		Queue string `json:"request_queue"`
	}
	if err := s.ask(ctx, []string{"dev -d"}, &disks); err != nil {
		return "", err
	}
	var d differences
	checked, tags := []string{}, 0
	for _, x := range disks {
		want, ok := said[x.Name]
		// The disk that the truth is written to is at work until the end.
		if !ok || x.Name == "nvme0n1" {
			continue
		}
		checked = append(checked, x.Name)
		if x.Reads == nil || x.Writes == nil || *x.Reads != want[0] || *x.Writes != want[1] {
			d.add("%s: %v reads and %v writes in flight; want %d and %d", x.Name, deref(x.Reads), deref(x.Writes), want[0], want[1])
		}
		if strings.HasPrefix(x.Name, "dm-") { // its requests are those of the disk below
			continue
		}
		var at struct {
			Value string `json:"value"`
		}
		if err := s.ask(ctx, []string{fmt.Sprintf("p &((struct request_queue *)%s)->tag_set->tags[0]->bitmap_tags->sb", x.Queue)}, &at); err != nil {
			return "", err
		}
		var taken struct {
			Busy *uint64 `json:"busy"`
			Set  []int   `json:"set"`
		}
		if err := s.ask(ctx, []string{"sbitmapq " + at.Value}, &taken); err != nil {
			return "", err
		}
		if taken.Busy == nil || *taken.Busy != want[0]+want[1] || uint64(len(taken.Set)) != *taken.Busy {
			d.add("%s: %v tags are taken (%v); want %d", x.Name, deref(taken.Busy), taken.Set, want[0]+want[1])
		}
		tags += len(taken.Set)
	}
	slices.Sort(checked)
	if !slices.Contains(checked, "nbd15") {
		d.add("no disk nbd15 among %v", checked)
	}
	return fmt.Sprintf("%v, %d requests in flight", checked, tags), d.err()
}
