package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"

	"kdx/analyze"
	dumped "kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// converting gives a leg a directory for its dumps, beside the original so that the peers see both, and takes it away again.
func converting(check func(ctx context.Context, s *subject, tmp string) (string, error)) func(ctx context.Context, s *subject) (string, error) {
	return func(ctx context.Context, s *subject) (string, error) {
		tmp, err := os.MkdirTemp(s.dir, ".converted-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(tmp)
		return check(ctx, s, tmp)
	}
}

// convert runs kdx convert. An exit code is an error.
func (s *subject) convert(ctx context.Context, in, out string, args ...string) error {
	_, err := output(ctx, s.dir, s.kdx, append(append([]string{"convert", "--progress", "none"}, args...), in, out)...)
	return err
}

// exitCode is that of a program that ran, 0 for no error, -1 for one that a signal ended or that did not run.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// opened is a dump with its kernel, for what a leg knows without the kdx that it tests.
func opened(ctx context.Context, path string) (*dumped.Kernel, func(), error) {
	img, err := formats.Open(ctx, []string{path}, formats.Options{})
	if err != nil {
		return nil, nil, err
	}
	k, err := analyze.Open(ctx, img, analyze.Options{})
	if err != nil {
		img.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, func() { k.Close(); img.Close() }, nil
}

// samePages compares all pages that out holds with the input's, and says how many these are. What is left out, or said to be missing, is
// no difference.
func samePages(ctx context.Context, in, out *dumpfmt.Image) (uint64, error) {
	var there atomic.Uint64
	err := out.Scan(ctx, func(pfn uint64, st dumpfmt.PageState, page []byte, _ error) error {
		if page == nil || st == dumpfmt.ZeroOrExcluded {
			return nil
		}
		want, err := in.Page(pfn)
		if err != nil {
			return fmt.Errorf("page %#x is in the output, but not in the input: %w", pfn, err)
		}
		if !bytes.Equal(want, page) {
			return fmt.Errorf("page %#x (%s) has other bytes than in the input", pfn, st)
		}
		there.Add(1)
		return nil
	})
	return there.Load(), err
}
