package view

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"kdx/analyze/vmem"
)

var errNoValue = errors.New("it is neither a number nor a text")

// order compares two values of type t.
func order(t reflect.Type) (func(a, b reflect.Value) int, error) {
	switch {
	case t.Kind() == reflect.Bool:
		return func(a, b reflect.Value) int { return cmp.Compare(truth(a), truth(b)) }, nil
	case t.Kind() == reflect.String:
		return func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }, nil
	case signed(t):
		return func(a, b reflect.Value) int { return cmp.Compare(a.Int(), b.Int()) }, nil
	case unsigned(t):
		return func(a, b reflect.Value) int { return cmp.Compare(a.Uint(), b.Uint()) }, nil
	case t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32:
		return func(a, b reflect.Value) int { return cmp.Compare(a.Float(), b.Float()) }, nil
	}
	return nil, errNoValue
}

func signed(t reflect.Type) bool   { return t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 }
func unsigned(t reflect.Type) bool { return t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 }

func truth(v reflect.Value) int {
	if v.Bool() {
		return 1
	}
	return 0
}

// comparisons by the names of test(1); > and < would be the shell's.
var comparisons = map[string]func(int) bool{
	"=": func(n int) bool { return n == 0 }, "!=": func(n int) bool { return n != 0 },
	"-lt": func(n int) bool { return n < 0 }, "-le": func(n int) bool { return n <= 0 },
	"-gt": func(n int) bool { return n > 0 }, "-ge": func(n int) bool { return n >= 0 },
}

// condition is whether a value of type t passes; of a list, whether one of its elements does, and for != and !~ whether all do. A value
// that is missing, which reads null in JSON, passes only "= null" and, if something else is asked for, != and !~.
func condition(t reflect.Type, op, value string) (func(reflect.Value) bool, error) {
	negated := strings.HasPrefix(op, "!")
	absent := negated
	if value == "null" {
		absent = op == "="
	}
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		pass, err := condition(t.Elem(), op, value)
		if err != nil {
			return nil, err
		}
		return func(v reflect.Value) bool {
			if !v.IsValid() {
				return absent
			}
			for i := range v.Len() {
				if pass(v.Index(i)) != negated {
					return !negated
				}
			}
			return negated
		}, nil
	}
	pass, err := single(t, op, value)
	if err != nil {
		return nil, err
	}
	return func(v reflect.Value) bool {
		if !v.IsValid() {
			return absent
		}
		return pass(v)
	}, nil
}

func single(t reflect.Type, op, value string) (func(reflect.Value) bool, error) {
	if op == "~" || op == "!~" {
		re, err := regexp.Compile(value)
		if err != nil {
			return nil, err
		}
		if t.Kind() != reflect.String {
			return nil, fmt.Errorf("%s is for texts", op)
		}
		return func(v reflect.Value) bool { return re.MatchString(v.String()) == (op == "~") }, nil
	}
	decide := comparisons[op]
	if decide == nil {
		return nil, fmt.Errorf("%q is none of = != ~ !~ -lt -le -gt -ge", op)
	}
	compare, err := order(t)
	if err != nil {
		return nil, err
	}
	if value == "null" && (op == "=" || op == "!=") {
		return func(reflect.Value) bool { return op == "!=" }, nil
	}
	want := reflect.New(t).Elem()
	if err := parseInto(want, value); err != nil {
		return nil, err
	}
	return func(v reflect.Value) bool { return decide(compare(v, want)) }, nil
}

// parseInto takes a number as kdx takes them: decimal, 0x, with K, M, G or T (of 1024) behind it; addresses are hexadecimal.
func parseInto(v reflect.Value, s string) error {
	t := v.Type()
	bad := fmt.Errorf("%q is no value of this field", s)
	switch {
	case t.Kind() == reflect.String:
		v.SetString(s)
	case t.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return bad
		}
		v.SetBool(b)
	case t == reflect.TypeFor[vmem.Addr]() || t == reflect.TypeFor[vmem.UserAddr]():
		n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
		if err != nil {
			return bad
		}
		v.SetUint(n)
	case unsigned(t):
		n, unit, err := parseUnits(s)
		if err != nil || unit > 1 && n > math.MaxUint64/unit || v.OverflowUint(n*unit) {
			return bad
		}
		v.SetUint(n * unit)
	case signed(t):
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			u, unit, e := parseUnits(s)
			if e != nil || u > math.MaxInt64/unit {
				return bad
			}
			n = int64(u * unit)
		}
		if v.OverflowInt(n) {
			return bad
		}
		v.SetInt(n)
	default:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return bad
		}
		v.SetFloat(f)
	}
	return nil
}

func parseUnits(s string) (n, unit uint64, err error) {
	unit = 1
	if i := strings.IndexAny(s, "KMGTkmgt"); i > 0 && i == len(s)-1 {
		unit = 1 << (10 * (1 + strings.IndexByte("KMGT", s[i]&^0x20)))
		s = s[:i]
	}
	n, err = strconv.ParseUint(s, 0, 64)
	return n, unit, err
}
