package storage

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check says what is wrong with a table that stands on so many devices.
func (m *Map) check(below int) error {
	if len(m.Name) > 127 || len(m.UUID) > 128 || strings.ContainsAny(m.Name, "/\x00") {
		return errors.New("its name or UUID is longer than 127 bytes, or holds a slash")
	}
	var at uint64
	for _, t := range m.Table {
		if t.Start != at || t.Length == 0 || t.Start+t.Length < t.Start {
			return fmt.Errorf("its table has a gap or an overlap at sector %d", at)
		}
		at += t.Length
		if _, ok := dmModules[t.Type]; !ok {
			return fmt.Errorf("%q is no target that kdx makes", t.Type)
		}
		for _, p := range placeholder.FindAllStringSubmatch(t.Params, -1) {
			if n, err := strconv.Atoi(p[1]); err != nil || n >= below {
				return fmt.Errorf("its table names device %s of %d", p[0], below)
			}
		}
	}
	return nil
}

// refusals say why tables with these targets are not made again.
var refusals = map[string]string{
	"crypt":           "it is encrypted (dm-crypt), and nobody is there to open it in the capture kernel; a key in the initrd would lie on the disk in clear text. Take a target that is not encrypted, or one over SFTP",
	"integrity":       "it is checked by dm-integrity, which kdx does not set up again",
	"cache":           "it is cached by dm-cache: kdx does not set the cache up again, and without it the disk is stale",
	"writecache":      "it is cached by dm-writecache: kdx does not set the cache up again, and without it the disk is stale",
	"snapshot":        "it is a snapshot, which kdx does not set up again",
	"snapshot-origin": "it has snapshots, which writing without them would spoil. Take a volume without, or remove them",
	"snapshot-merge":  "a snapshot is being merged into it",
	"vdo":             "it is deduplicated (VDO), which kdx does not set up again",
	"verity":          "it can only be read (dm-verity)",
	"era":             "it is tracked by dm-era, which kdx does not set up again",
	"zoned":           "it is a zoned disk behind dm-zoned, which kdx does not set up again",
}

var devNumber = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

// abstract puts {N} in the place of device numbers, N counting these devices. It refuses tables that can't be made again.
func abstract(table []Target, below []string) ([]Target, error) {
	out := make([]Target, len(table))
	for i, t := range table {
		if why, ok := refusals[t.Type]; ok {
			return nil, errors.New(why)
		}
		if _, ok := dmModules[t.Type]; !ok {
			return nil, fmt.Errorf("its table has the target %q, which kdx does not set up again", t.Type)
		}
		words := strings.Fields(t.Params)
		if t.Type == "raid" && (slices.Contains(words, "delta_disks") || slices.Contains(words, "data_offset")) {
			return nil, errors.New("it is being reshaped. Build the initrd again when that is done")
		}
		for j, w := range words {
			if !devNumber.MatchString(w) {
				continue
			}
			n := slices.Index(below, w)
			if n < 0 {
				return nil, fmt.Errorf("its table names the device %s, which /sys does not show below it", w)
			}
			words[j] = "{" + strconv.Itoa(n) + "}"
		}
		t.Params = strings.Join(words, " ")
		out[i] = t
	}
	return out, nil
}

// concrete puts the numbers of devices in again.
func concrete(table []Target, below []string) []Target {
	out := slices.Clone(table)
	for i := range out {
		out[i].Params = placeholder.ReplaceAllStringFunc(out[i].Params, func(p string) string {
			n, err := strconv.Atoi(p[1 : len(p)-1])
			if err != nil || n >= len(below) {
				return p // Check has refused it
			}
			return below[n]
		})
		if out[i].Type == "raid" {
			out[i].Params = withoutHalves(out[i].Params)
		}
	}
	return out
}

// withoutHalves takes a leg of a dm-raid table out whole, metadata and data, if one of the two is missing. A table is the level, the number of parameters,
// these, the number of legs, and two devices each.
func withoutHalves(params string) string {
	words := strings.Fields(params)
	if len(words) < 2 {
		return params
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || n < 0 || n > len(words)-3 {
		return params
	}
	for legs := words[2+n+1:]; len(legs) >= 2; legs = legs[2:] {
		if legs[1] == "-" {
			legs[0] = "-"
		} else if legs[0] == "-" && hasMetadata(words[2+n+1:]) {
			legs[1] = "-"
		}
	}
	return strings.Join(words, " ")
}

// hasMetadata says whether any leg has a device for metadata: arrays without are written with "-" in its place.
func hasMetadata(legs []string) bool {
	for i := 0; i < len(legs); i += 2 {
		if legs[i] != "-" {
			return true
		}
	}
	return false
}
