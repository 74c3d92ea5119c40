package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Report is what a Check found.
type Report struct {
	Checked  []Checked `json:"checked"`
	Pages    uint64    `json:"pages"`    // distinct pages that are proven to be there
	Compared uint64    `json:"compared"` // of them, those whose bytes were compared, too
	Failed   uint64    `json:"failed"`   // what is wrong, counted
	Failures []Failure `json:"failures"` // the first of them, those that matter most first
	// Doubts are pages that something in the kernel points to, and that its own lists have as free or as a program's: a
	// pointer that was left behind, which the crash may be about. They may go.
	Doubts []Failure     `json:"doubts"`
	Took   time.Duration `json:"took_ns"`
}

// Checked is one area of what a dump must have.
type Checked struct {
	Name       string `json:"name"`
	Pages      uint64 `json:"pages"` // that were not already proven for another area
	Compared   uint64 `json:"compared"`
	NotInInput uint64 `json:"not_in_input"`   // pages that it lacks, too
	Waived     uint64 `json:"waived"`         // that were asked to go
	Doubtful   uint64 `json:"doubtful"`       // see Report.Doubts
	Gaps       int    `json:"gaps"`           // structures of the input that can't be followed
	Unfinished bool   `json:"unfinished"`     // the time ran out first
	Note       string `json:"note,omitempty"` // why less was checked than there might be
}

// Failure is a page, or a header, of the output that is not what it should be.
type Failure struct {
	Check  string       `json:"check"`
	What   string       `json:"what,omitempty"` // of a header
	PFN    uint64       `json:"pfn"`
	Addr   dumpfmt.Phys `json:"-"`
	At     vmem.Addr    `json:"address"`          // where the kernel maps it, as far as that led to it; 0 if it was not the address
	Found  string       `json:"found"`            // the page's state in the output
	Detail string       `json:"detail,omitempty"` // how its bytes differ
	Page   string       `json:"page,omitempty"`   // what the kernel says of the page
}

func (f Failure) String() string {
	if f.What != "" {
		return fmt.Sprintf("%s: %s: %s", f.Check, f.What, f.Detail)
	}
	where := fmt.Sprintf("physical %#x", uint64(f.Addr))
	if f.At != 0 {
		where += fmt.Sprintf(", virtual %#x", uint64(f.At))
	}
	s := fmt.Sprintf("%s: page %#x (%s) should be present and is %s", f.Check, f.PFN, where, f.Found)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Page != "" {
		s += "; the kernel says of it: " + f.Page
	}
	return s
}

// ErrFailed is wrapped by Report.Err.
var ErrFailed = errors.New("the output fails its self-check: do not delete the input")

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return r.Failed == 0 }

// Unchecked names the areas that the time did not suffice for.
func (r Report) Unchecked() []string {
	var out []string
	for _, c := range r.Checked {
		if c.Unfinished {
			out = append(out, c.Name)
		}
	}
	return out
}

// Err is nil if nothing is wrong. Otherwise it wraps ErrFailed and says the first failures, a line each.
func (r Report) Err() error {
	if r.OK() {
		return nil
	}
	const shown = 5
	var b strings.Builder
	for _, f := range r.Failures[:min(shown, len(r.Failures))] {
		fmt.Fprintf(&b, "\n  %s", f)
	}
	if r.Failed > shown {
		fmt.Fprintf(&b, "\n  and %d more", r.Failed-shown)
	}
	return fmt.Errorf("%w%s", ErrFailed, b.String())
}

// Summary is one line for a person.
func (r Report) Summary() string {
	s := fmt.Sprintf("self-check: %d pages that the kernel needs are there, %d of them compared, in %.2f s", r.Pages, r.Compared, r.Took.Seconds())
	if r.Pages == 0 {
		s = "self-check: nothing of the kernel could be read in the input, so that nothing was checked"
	}
	if !r.OK() {
		s = fmt.Sprintf("self-check FAILED: %d pages or headers are wrong", r.Failed)
	}
	if left := r.Unchecked(); len(left) > 0 {
		s += "; no time for all of: " + strings.Join(left, ", ")
	}
	return s
}

// Text is the whole report for a person.
func (r Report) Text() string {
	var b strings.Builder
	b.WriteString(r.Summary() + "\n")
	for _, c := range r.Checked {
		fmt.Fprintf(&b, "  %-34s %8d pages, %7d compared", c.Name, c.Pages, c.Compared)
		if c.NotInInput > 0 {
			fmt.Fprintf(&b, ", %d not in the input", c.NotInInput)
		}
		if c.Waived > 0 {
			fmt.Fprintf(&b, ", %d left out as asked", c.Waived)
		}
		if c.Doubtful > 0 {
			fmt.Fprintf(&b, ", %d pointed to but given away", c.Doubtful)
		}
		if c.Unfinished {
			b.WriteString(", not finished in time")
		}
		if c.Note != "" {
			b.WriteString("; " + c.Note)
		}
		b.WriteByte('\n')
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "  WRONG: %s\n", f)
	}
	if n := r.Failed - uint64(len(r.Failures)); n > 0 {
		fmt.Fprintf(&b, "  WRONG: and %d more\n", n)
	}
	for _, f := range r.Doubts {
		fmt.Fprintf(&b, "  doubtful: %s\n", f)
	}
	return b.String()
}

// manyDoubts: a few pointers may have been left behind. If it is one page of fifty of an area, it is not the kernel that is mistaken.
func manyDoubts(doubtful, pages uint64) bool { return doubtful > 8 && doubtful > pages/50 }

func (c *checker) report(done []Checked, took time.Duration) Report {
	r := Report{Checked: done, Failures: []Failure{}, Doubts: []Failure{}, Took: took}
	for i := range done {
		r.Pages += done[i].Pages
		r.Compared += done[i].Compared
		r.Failed += c.failed[i]
		done[i].Doubtful = c.doubted[i]
		if manyDoubts(c.doubted[i], done[i].Pages) {
			r.Failed += c.doubted[i]
		}
	}
	slices.SortStableFunc(c.failures, func(a, b failure) int {
		return cmp.Or(cmp.Compare(a.area, b.area), cmp.Compare(a.PFN, b.PFN))
	})
	for _, f := range c.failures {
		if l := c.layout(); l != nil && f.What == "" {
			f.Page = c.describe(l.pages, f.PFN)
		}
		switch {
		case f.doubt && !manyDoubts(c.doubted[f.area], done[f.area].Pages):
			r.Doubts = append(r.Doubts, f.Failure)
		case len(r.Failures) < maxFailures:
			r.Failures = append(r.Failures, f.Failure)
		}
	}
	return r
}

// describe is what the input's struct page says: why a filter took the page for something that may go.
func (c *checker) describe(pages *mm.Pages, pfn uint64) string {
	g, err := pages.Read(c.full.View(context.Background()), pfn)
	if err != nil {
		return ""
	}
	s := fmt.Sprintf("flags %s, refcount %d, type %#x, mapping %#x", cmp.Or(pages.FlagText(g.Flags), "none"), g.RefCount, g.Type, uint64(g.Mapping))
	if g.Head != 0 {
		s += fmt.Sprintf(", tail of %#x", uint64(g.Head))
	}
	return s
}
