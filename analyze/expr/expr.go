// Package expr evaluates C expressions over the values of a dumped kernel: literals, variables, enumerators, functions'
// addresses, casts, members, indexing, & and *, arithmetic with C's conversions, comparison, ?:, sizeof, offsetof,
// container_of, per_cpu, and gdb's object@count and $N. Nothing is ever written, and functions can't be called.
//
//	(struct task_struct *)0xffff888003a4c000
//	container_of(init_task.tasks.next, struct task_struct, tasks)->comm
//	init_task.signal->rlim[3].rlim_cur / 1024
package expr

import (
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/symbols"
)

// maxSource bounds an expression's text in bytes.
const maxSource = 16 << 10

// Options of Eval.
type Options struct {
	// CPU whose copy a per-CPU variable means; below zero none, and using one without saying which is an error.
	CPU int
	// History holds the values of $1, $2, …
	History []kernel.Value
	// Local finds variables that go before all others: those of a frame. It may be nil.
	Local func(name string) (kernel.Value, bool)
}

// NoCPU is the Options of an expression that names no CPU.
var NoCPU = Options{CPU: -1}

// Error says what is wrong with an expression, and where.
type Error struct {
	Src string
	Pos int // byte offset in Src
	Msg string
	Err error // what stopped the evaluation; nil if the expression itself is wrong
}

// Error is the message, then the expression with a mark under the place.
func (e *Error) Error() string {
	const widest = 160
	if len(e.Src) > widest || e.Pos > len(e.Src) || strings.ContainsAny(e.Src, "\n\r\t") {
		return fmt.Sprintf("%s (at byte %d of the expression)", e.Msg, e.Pos+1)
	}
	return fmt.Sprintf("%s\n  %s\n  %s^", e.Msg, e.Src, strings.Repeat(" ", e.Pos))
}

func (e *Error) Unwrap() error { return e.Err }

// Eval evaluates src. The value may be an object in memory that was not read yet. The error is an *Error.
func Eval(v *kernel.View, src string, opt Options) (kernel.Value, error) {
	n, e, err := parse(v, src, opt)
	if err != nil {
		return kernel.Value{}, err
	}
	if n.op == opType {
		return kernel.Value{}, e.errorf(n.pos, "%s is a type; whatis and struct show types, sizeof measures them", n.typ)
	}
	return e.eval(n)
}

// TypeOf is the type of the expression or type name src. Nothing is read to find it, except what pointers to void or
// casts hide.
func TypeOf(v *kernel.View, src string, opt Options) (t *symbols.Type, isType bool, err error) {
	n, e, err := parse(v, src, opt)
	if err != nil {
		return nil, false, err
	}
	if n.op == opType {
		return n.typ, true, nil
	}
	t, err = e.typeOf(n)
	return t, false, err
}

func parse(v *kernel.View, src string, opt Options) (*node, *evaluator, error) {
	e := &evaluator{v: v, src: src, opt: opt, base: baseTypes(v.WordSize())}
	if len(src) > maxSource {
		return nil, nil, e.errorf(0, "an expression of %d bytes is too long", len(src))
	}
	toks, err := lex(src)
	if err != nil {
		return nil, nil, err
	}
	p := &parser{e: e, toks: toks}
	n, err := p.whole()
	return n, e, err
}
