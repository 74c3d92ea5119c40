package scrub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/internal/nearest"
)

// Kind of a Rule.
type Kind uint8

// The kinds of rules.
const (
	Symbol         Kind = iota // a variable, or a member of it
	Member                     // a member of all objects of a struct
	Cache                      // all objects of a slab cache
	Process                    // what belongs to a process
	Regex                      // bytes that match an expression, wherever they are
	CompressedSwap             // all pages of zsmalloc: what zram and zswap keep
	Freed                      // all free pages, and all free objects of slab caches
)

var kindNames = []string{"symbol", "member", "cache", "process", "regex", "compressed-swap", "freed"}

func (k Kind) String() string { return kindNames[k] }

// Rule is one thing that must go.
type Rule struct {
	Kind  Kind
	Place Place  // Symbol: what; Member: the struct's tag and the member
	Cache string // Cache: its name; Member: in which cache the objects are, "" to find it
	Name  string // Process: the name of one of its threads, "" if PID is given
	PID   int32  // Process
	expr  *pattern
}

const redactForms = "symbol:NAME[.member], member:STRUCT.MEMBER[@CACHE], cache:NAME, process:NAME or process:PID, regex:EXPRESSION, compressed-swap or freed"

// ParseRedact reads a rule in the form of the option --redact.
//
//	symbol:NAME[.member…]          a variable of the kernel, as in the erase configuration; of all CPUs, if it is per-CPU
//	member:STRUCT.MEMBER[@CACHE]   that member of every object of the struct's slab cache, allocated and free
//	cache:NAME                     every object of a slab cache, allocated and free
//	process:NAME, process:PID      a process's memory, and what the kernel keeps of its registers and its name
//	regex:EXPRESSION               what matches (Go's syntax), wherever it is in memory, notes and headers
//	compressed-swap                all pages of zsmalloc, in which zram and zswap keep pages
//	freed                          all free pages, and all free objects of slab caches
func ParseRedact(text string) (Rule, error) {
	kind, rest, colon := strings.Cut(text, ":")
	fail := func(err error) (Rule, error) { return Rule{}, fmt.Errorf("redact %s: %w", kind, err) }
	if colon && rest == "" {
		return fail(errors.New("nothing follows the colon"))
	}
	switch kind {
	case "symbol":
		p, err := parsePlace(rest)
		if err != nil {
			return fail(err)
		}
		return Rule{Kind: Symbol, Place: p}, nil
	case "member":
		place, cache, at := strings.Cut(rest, "@")
		p, err := parsePlace(place)
		if err != nil || len(p.Members) == 0 || at && cache == "" {
			return fail(fmt.Errorf("%q is not of the form STRUCT.MEMBER or STRUCT.MEMBER@CACHE", rest))
		}
		return Rule{Kind: Member, Place: p, Cache: cache}, nil
	case "cache":
		return Rule{Kind: Cache, Cache: rest}, nil
	case "process":
		if n, err := strconv.ParseInt(rest, 10, 32); err == nil {
			if n <= 0 {
				return fail(errors.New("a PID is greater than 0"))
			}
			return Rule{Kind: Process, PID: int32(n)}, nil
		}
		return Rule{Kind: Process, Name: rest}, nil
	case "regex":
		e, err := compilePattern(rest)
		if err != nil {
			return fail(err)
		}
		return Rule{Kind: Regex, expr: e}, nil
	case "compressed-swap", "freed":
		if colon {
			return fail(errors.New("it takes no argument"))
		}
		if kind == "freed" {
			return Rule{Kind: Freed}, nil
		}
		return Rule{Kind: CompressedSwap}, nil
	}
	if near := nearest.Of(kind, kindNames); near != "" && colon {
		return Rule{}, fmt.Errorf("redact: there is no rule %q; did you mean %s?", kind, near)
	}
	return Rule{}, fmt.Errorf("redact: a rule is %s", redactForms)
}

// label names a rule in messages and in the dump. What may itself be the secret is not in it.
func (r *Rule) label(n int) string {
	switch r.Kind {
	case Symbol:
		return "symbol:" + r.Place.String()
	case Member:
		if r.Cache != "" {
			return "member:" + r.Place.String() + "@" + r.Cache
		}
		return "member:" + r.Place.String()
	case Cache:
		return "cache:" + r.Cache
	case Process:
		if r.Name != "" {
			return fmt.Sprintf("process (rule %d)", n)
		}
		return fmt.Sprintf("process:%d", r.PID)
	case Regex:
		return fmt.Sprintf("regex (rule %d)", n)
	}
	return r.Kind.String()
}
