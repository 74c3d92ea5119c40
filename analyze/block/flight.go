package block

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Flight are requests that a driver was given and has not completed.
type Flight struct{ Reads, Writes uint64 }

type request struct {
	Queue vmem.Addr `k:"q"`
	Flags uint32    `k:"cmd_flags"`
	Tag   int32     `k:"tag"`
	State uint32    `k:"state"`
	Part  vmem.Addr `k:"part"`
}

type tags struct {
	Count    uint32    `k:"nr_tags"`
	Requests vmem.Addr `k:"rqs"`
}

const (
	inFlight    = 1       // MQ_RQ_IN_FLIGHT
	maxQueues   = 1 << 16 // hardware queues of a device
	maxTags     = 1 << 17 // requests of a queue; the kernel's limit is 10240
	writeOp     = 1       // operations with this bit set carry data to the device
	maxBrokenRq = 16      // unreadable requests of a queue before it is given up
)

// InFlight counts what a disk, or one of its partitions, has in flight. Requests are found by the tags of their queue; a disk
// without them (RequestBase) by its own count. What could not be read makes the count too small, and is the error.
func InFlight(v *kernel.View, d *Device) (Flight, error) {
	if !d.RequestBase {
		s, err := ReadStats(v, d)
		return Flight{uint64(max(s.InFlight[0], 0)), uint64(max(s.InFlight[1], 0))}, err
	}
	var f Flight
	rqs, err := kernel.Bind[request](v.Kernel, "request")
	if err != nil {
		return f, err
	}
	bind, err := kernel.Bind[tags](v.Kernel, "blk_mq_tags")
	if err != nil {
		return f, err
	}
	state := int64(inFlight)
	if n, _, err := v.Symbols().Enumerator("MQ_RQ_IN_FLIGHT"); err == nil {
		state = n
	} else if !symbols.Absent(err) {
		return f, err
	}
	set := v.ObjectOf("request_queue", d.Queue).Field("tag_set")
	n, err := set.Field("nr_hw_queues").Uint()
	if err != nil {
		return f, fmt.Errorf("tags of %s: %w", d.Name, err)
	}
	if n > maxQueues {
		return f, fmt.Errorf("tags of %s: %d hardware queues: damaged", d.Name, n)
	}
	var errs []error
	seen := make(map[vmem.Addr]bool)
	for i := range n {
		at, err := set.Field("tags").Index(int64(i)).Pointer()
		if err != nil {
			return f, errors.Join(append(errs, fmt.Errorf("tags of %s: %w", d.Name, err))...)
		}
		if at == 0 || seen[at] { // queues may share all tags
			continue
		}
		seen[at] = true
		t, err := bind.Read(v, at)
		if err == nil && t.Count > maxTags {
			err = fmt.Errorf("%d tags: damaged", t.Count)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tags of %s: %w", d.Name, err))
			continue
		}
		if err := f.count(v, d, &t, rqs, uint32(state)); err != nil {
			errs = append(errs, fmt.Errorf("requests of %s: %w", d.Name, err))
		}
	}
	return f, errors.Join(errs...)
}

// count looks at the request that each tag was last given to: it counts if it still has the tag and is in flight.
func (f *Flight) count(v *kernel.View, d *Device, t *tags, rqs kernel.Binding[request], state uint32) error {
	ws := v.WordSize()
	table := make([]byte, uint64(t.Count)*ws)
	if err := v.Read(table, t.Requests); err != nil {
		return err
	}
	var errs []error
	for tag := range t.Count {
		p := word(v, table[uint64(tag)*ws:])
		if p == 0 {
			continue
		}
		r, err := rqs.Read(v, p)
		if err != nil {
			if errs = append(errs, err); len(errs) >= maxBrokenRq {
				break
			}
			continue
		}
		if r.Queue != d.Queue || r.Tag != int32(tag) || r.State != state || d.Partition != 0 && r.Part != d.Part {
			continue
		}
		if r.Flags&writeOp != 0 {
			f.Writes++
		} else {
			f.Reads++
		}
	}
	return errors.Join(errs...)
}

func word(v *kernel.View, p []byte) vmem.Addr {
	if v.WordSize() == 4 {
		return vmem.Addr(v.ByteOrder().Uint32(p))
	}
	return vmem.Addr(v.ByteOrder().Uint64(p))
}
