// Package scrub takes data out of a dump: what makedumpfile's erase configuration names, and what rules of kdx's own name by
// symbol, struct member, slab cache, process or regular expression.
//
// Compile finds every byte that must go, before the first page is written; Change then puts 'X' over the bytes of one page,
// or zeros over a nullified pointer. What can't be found, or can't be found whole, is an error of Compile: a dump is never
// scrubbed in part without anybody saying so.
package scrub

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/slab"
	"kdx/dumpfmt"
)

// Fill is what erased bytes become, as makedumpfile has it.
const Fill = 'X'

// Rules say what must go.
type Rules struct {
	Config []Section // makedumpfile's erase configuration, see ParseConfig
	Redact []Rule    // kdx's own rules, see ParseRedact
}

// Empty reports whether the rules ask for nothing.
func (r *Rules) Empty() bool { return len(r.Config) == 0 && len(r.Redact) == 0 }

// Done is what one rule came to.
type Done struct {
	Rule    string // as it was given; of a regular expression or a process name only its number, as it may be the secret itself
	Objects uint64 // variables, members, slab objects or matches erased
	Bytes   uint64 // erased; of pages that the dump does not hold too
	Pages   uint64 // erased as a whole, by rules about processes, compressed swap and freed memory
	Shared  uint64 // of these, pages that other processes or the page cache use too
	Notes   []string
}

// Scrubber changes pages. Its methods may be called by many goroutines at once.
type Scrubber struct {
	marks    *marks
	info     infoChanges
	patterns []*pattern
	done     []Done
	logText  []string
}

// Compile finds all that the rules ask for in v's kernel. It reads what the rules need: all of the dump, if one is a regular
// expression. v's context cancels it.
func Compile(v *kernel.View, rules Rules) (*Scrubber, error) {
	if v.Live() {
		return nil, errors.New("scrub: this is the running kernel, whose memory changes between search and copy: scrub a dump of it")
	}
	b := &builder{v: v, marks: newMarks(v.PageSize())}
	if err := b.config(rules.Config); err != nil {
		return nil, err
	}
	done := make([]Done, len(rules.Redact))
	var regexes []int
	// Compressed swap goes first: what may hide in it stops other rules.
	for _, first := range []bool{true, false} {
		for i, r := range rules.Redact {
			if first != (r.Kind == CompressedSwap) {
				continue
			}
			if r.Kind == Regex {
				regexes = append(regexes, i)
				continue
			}
			done[i].Rule = r.label(i + 1)
			if err := b.rule(r, &done[i]); err != nil {
				return nil, fmt.Errorf("redact %s: %w", r.label(i+1), err)
			}
		}
	}
	if err := b.regexes(regexes, rules.Redact, done); err != nil {
		return nil, fmt.Errorf("redact regex: %w", err)
	}
	for i := range done {
		b.log = append(b.log, done[i].line())
	}
	if err := b.marks.freeze(); err != nil {
		return nil, err
	}
	if err := b.headerNames(); err != nil {
		return nil, err
	}
	return &Scrubber{marks: b.marks, info: b.info, patterns: b.patterns, done: append(b.done, done...), logText: b.log}, nil
}

// Change erases what must go from the page of pfn, and reports whether there was anything.
func (s *Scrubber) Change(pfn uint64, page []byte) (bool, error) {
	return s.marks.apply(pfn, page), nil
}

// Untouched reports whether Change never alters the page: its stored form may be handed on.
func (s *Scrubber) Untouched(pfn uint64) bool { return !s.marks.touched.Has(pfn) }

// Pages are those that Change alters.
func (s *Scrubber) Pages() *dumpfmt.PageSet { return &s.marks.touched }

// Done is what each rule came to, in the order of the rules.
func (s *Scrubber) Done() []Done { return s.done }

// builder collects what must go.
type builder struct {
	v     *kernel.View
	marks *marks
	info  infoChanges
	done  []Done
	log   []string
	slab  *slab.Slabs
	array *pageArray // nil until needed

	patterns []*pattern
	swapGone bool // compressed swap is erased
}

func (b *builder) rule(r Rule, d *Done) error {
	switch r.Kind {
	case Symbol:
		return b.symbol(r, d)
	case Member:
		return b.member(r, d)
	case Cache:
		return b.cache(r, d)
	case Process:
		return b.process(r, d)
	case CompressedSwap:
		return b.compressed(d)
	case Freed:
		return b.freed(d)
	}
	return fmt.Errorf("there is no rule of kind %d", r.Kind)
}

// line is what ERASEINFO says of a rule.
func (d *Done) line() string {
	s := fmt.Sprintf("redact %s: %d erased, %d bytes", d.Rule, d.Objects, d.Bytes)
	if d.Pages > 0 {
		s += fmt.Sprintf(", %d pages", d.Pages)
	}
	return s
}
