package proof

import (
	"strings"
	"testing"
)

// TestNothingRead: that nothing was wrong is no praise where nothing was looked at.
func TestNothingRead(t *testing.T) {
	if s := (Report{}).Summary(); !strings.Contains(s, "nothing was checked") {
		t.Errorf("Summary() = %q; want that nothing was checked", s)
	}
}
