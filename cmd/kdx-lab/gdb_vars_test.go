package main

import (
	"reflect"
	"testing"
)

func TestGdbArguments(t *testing.T) {
	got := gdbArguments(`a=1, b=b@entry=0x2 <fn(int, int)+4>, c@entry=3, d=<optimized out>, e=0x7f "x, \"y\"", f={a = 1, b = 2}, g=44 ',', i=0x7f <error: x, y>, h=<error reading variable: x, y>, a@entry=2`)
	want := map[string]string{"a": "1", "i": "0x7f <error: x, y>", "b": "@0x2 <fn(int, int)+4>", "c": "@3", "e": `0x7f "x, \"y\""`, "f": "{a = 1, b = 2}", "g": "44 ','"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
