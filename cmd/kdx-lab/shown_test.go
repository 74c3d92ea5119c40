package main

import (
	"encoding/json"
	"testing"
)

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		`{"result":null,"missing":[],"error":"no"}`:                                                "no",
		`{"result":null,"missing":[]}`:                                                             "an empty answer",
		`{"result":[{"pid":1,"comm":"init","result":[]}],"missing":[]}`:                            "an empty answer",
		`{"result":[{"pid":1,"comm":"init","result":[{"fd":3}]}],"missing":[]}`:                    "",
		`{"result":{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"offline":[]}}`:                "",
		`{"result":[],"missing":[{"what":"a list","error":"cut"},{"what":"another","error":"x"}]}`: "2 things are missing, first a list: cut",
		`{"result":["x"],"missing":[{"what":"a list","error":"cut"}]}`:                             "",
		`{"result":{"from":"0x1"},"missing":[]}`:                                                   "",
	} {
		var a lineAnswer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		if got := a.nothing(); got != want {
			t.Errorf("%s: %q; want %q", text, got, want)
		}
	}
}
