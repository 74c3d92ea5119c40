package main

import (
	"context"

	"kdx/analyze/linkedinfo"
	"kdx/internal/atomicfile"
)

// writeVMCoreInfo is -g.
func (m *makedumpfile) writeVMCoreInfo(ctx context.Context) error {
	names := []string{m.generate}
	if err := m.refuseExisting(names); err != nil {
		return err
	}
	text, err := linkedinfo.Of(ctx, m.vmlinux)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(m.generate, []byte(text), 0o600); err != nil {
		return err
	}
	m.msg(msgCommon, "\nThe vmcoreinfo is saved to %s.\n", m.generate)
	return nil
}
