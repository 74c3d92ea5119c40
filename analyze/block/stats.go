package block

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Stats are what a device has done since it was added (/proc/diskstats): of reads, writes, discards and flushes.
type Stats struct {
	IOs     [4]uint64
	Merges  [4]uint64
	Sectors [4]uint64 // of 512 bytes
	Ns      [4]uint64 // time that requests took
	// InFlight are reads and writes begun and not ended, by the device's own count. Until 6.14 only devices without
	// requests keep it; see Flight.
	InFlight [2]int64
}

// ReadStats adds up what each CPU counted for a device.
func ReadStats(v *kernel.View, d *Device) (Stats, error) {
	var s Stats
	l, err := layoutOf(v)
	if err != nil {
		return s, err
	}
	fail := func(err error) (Stats, error) { return s, fmt.Errorf("statistics of %s: %w", d.Name, err) }
	p, err := v.ObjectOf(l.tag, d.Part).Field(l.stats).Pointer()
	if err != nil {
		return fail(err)
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return fail(err)
	}
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return fail(err)
		}
		x := v.ObjectOf("disk_stats", p+vmem.Addr(off))
		for path, to := range map[string]*[4]uint64{"ios": &s.IOs, "merges": &s.Merges, "sectors": &s.Sectors, "nsecs": &s.Ns} {
			list := x.Field(path)
			for i := range to {
				n, err := list.Index(int64(i)).Uint()
				if err != nil {
					return fail(err)
				}
				to[i] += n
			}
		}
		for i := range s.InFlight {
			n, err := x.Field("in_flight").Index(int64(i)).Field("a.counter").Int()
			if err != nil {
				return fail(err)
			}
			s.InFlight[i] += n
		}
	}
	return s, nil
}
