package scrub

import (
	"maps"
	"slices"
	"strings"

	"kdx/dumpfmt"
)

// infoChanges are the changes of headers and notes.
type infoChanges struct {
	notes map[int][]byte // new descriptors, by index of Info.Notes
}

// Info is what the scrubbed dump says of itself: info with registers, texts and notes changed as the rules ask, and with a
// record of what was erased, as makedumpfile writes it. info itself is not altered.
func (s *Scrubber) Info(info *dumpfmt.Info) *dumpfmt.Info {
	out := *info
	out.Notes = slices.Clone(info.Notes)
	for _, i := range slices.Sorted(maps.Keys(s.info.notes)) {
		if i < len(out.Notes) {
			out.Notes[i].Desc = s.info.notes[i]
		}
	}
	if len(s.logText) > 0 {
		if out.EraseInfo != "" && !strings.HasSuffix(out.EraseInfo, "\n") {
			out.EraseInfo += "\n"
		}
		out.EraseInfo += strings.Join(s.logText, "\n") + "\n"
	}
	return &out
}
