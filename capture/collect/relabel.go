package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Relabel gives the files of dumps the labels of the host's SELinux policy, which the capture kernel had not loaded. It does nothing where
// SELinux is off.
func Relabel(ctx context.Context, root string, dirs []string) error {
	if _, err := os.Stat(filepath.Join("/", root, "sys/fs/selinux/enforce")); err != nil || len(dirs) == 0 {
		return nil
	}
	restorecon, err := exec.LookPath("restorecon")
	if err != nil {
		return errors.New("SELinux is on, and restorecon, which sets labels, is not found: files of dumps may have none")
	}
	out, err := exec.CommandContext(ctx, restorecon, append([]string{"-R", "--"}, dirs...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("restorecon: %w: %.300s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
