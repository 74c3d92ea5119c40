package commands

import (
	"strings"
	"testing"
)

// TestCrashRows: each command and flag of crash is answered for.
func TestCrashRows(t *testing.T) {
	all := All()
	if err := checkCrashNotes(all, crashNotes); err != nil {
		t.Error(err)
	}
	noted := make(map[string]bool)
	for _, n := range crashNotes {
		noted[n.what] = true
	}
	for _, r := range CrashRows(all) {
		if r.Verdict == CrashMissing && !noted[r.String()] {
			t.Errorf("crash has %s, the table of commands has not: add it, or a note to crashnotes.go that says why not", r)
		}
	}
}

// TestCrashNotes: a note that promises too much is found out.
func TestCrashNotes(t *testing.T) {
	all := []*Command{{Name: "ps", Flags: []Flag{{Name: "F"}}}}
	for _, tt := range []struct {
		note crashNote
		want string
	}{
		{crashNote{"ps -k", CrashSame, ""}, "does not have it"},
		{crashNote{"ps -Z", CrashNothing, "no"}, "crash does not have"},
		{crashNote{"ps -k", CrashNothing, ""}, "say why"},
		{crashNote{"ps", CrashSame, ""}, ""},
		{crashNote{"sys config", CrashNothing, "x"}, ""},
	} {
		err := checkCrashNotes(all, []crashNote{tt.note})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v; want %q", tt.note, err, tt.want)
		}
	}
	for form, want := range map[string]bool{"-F": true, "-FF": true, "-F=x": true, "-G": false, "config": false, "-": false} {
		if got := all[0].takes(form); got != want {
			t.Errorf("takes(%q) = %v", form, got)
		}
	}
}
