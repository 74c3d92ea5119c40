package formats

import (
	"errors"
	"strings"
	"testing"
)

func TestNotDump(t *testing.T) {
	for _, tt := range []struct{ head, want string }{
		{"", "the file is empty"},
		{"\x7fELF", "4 bytes, which ends inside its header"},
		{"\x7fELF" + strings.Repeat("\x01", 47), "51 bytes, which ends inside its header"},
		{"\x7fELF" + strings.Repeat("\x01", 100), "no core dump"},
		{"\x00\x00\x00\x00", "4 zero bytes"},
		{"\x1f\x8b\x08", "gunzip"},
		{"\x01\x02", "it begins with 01 02"},
	} {
		err := notDump("f", []byte(tt.head))
		if !errors.Is(err, ErrNotDump) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("notDump(%q) = %v; want %q", tt.head, err, tt.want)
		}
	}
}
