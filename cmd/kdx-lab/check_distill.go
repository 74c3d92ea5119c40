package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// distillCommands are among those that a distilled dump answers without having been asked for them.
var distillCommands = []string{"sys", "log", "ps", "ps -t", "bt", "bt -a", "foreach bt", "mod", "kmem -i", "kmem -s", "task", "set"}

// maxDistilled is how large a distilled dump of these guests may be, in bytes: it must fit in a mail.
const maxDistilled = 8 << 20

// checkDistill distills the dump: the small one is small, and says what the whole one says.
func checkDistill(ctx context.Context, s *subject) (string, error) {
	tmp, err := os.MkdirTemp(s.dir, ".distilled-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	small := filepath.Join(tmp, "vmcore")
	if _, err := output(ctx, tmp, s.kdx, "distill", s.dump, "-o", small); err != nil {
		return "", err
	}
	st, err := os.Stat(small)
	if err != nil {
		return "", err
	}
	var d differences
	if st.Size() > maxDistilled {
		d.add("%d bytes; want at most %d", st.Size(), maxDistilled)
	}
	for _, c := range distillCommands {
		want, err := s.say(ctx, s.dump, c)
		if err != nil {
			return "", err
		}
		got, err := s.say(ctx, small, c)
		if err != nil {
			d.add("%v", err)
			continue
		}
		if want, got = aboutKernel(want), aboutKernel(got); want != got {
			d.add("%s differs: %s", c, firstDifference(want, got))
		}
	}
	return fmt.Sprintf("%.1f MB of %d MB, %d commands equal", float64(st.Size())/1e6, fileSize(s.dump)/1e6, len(distillCommands)), d.err()
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// aboutKernel leaves out the lines that speak of the file.
func aboutKernel(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "DUMPFILE:") && !strings.Contains(line, "DISTILLED:") {
			b.WriteString(line)
		}
	}
	return b.String()
}
