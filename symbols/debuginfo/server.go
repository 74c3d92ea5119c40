package debuginfo

import (
	"context"
	"errors"
	"fmt"

	"kdx/symbols/debuginfo/debuginfod"
)

// fromServer takes the file from debuginfod's cache, or its servers, unless a better one was found.
func (s *search) fromServer() {
	srv, id := s.opt.Server, s.want.BuildID
	if srv == nil || id == "" || s.res.Best != nil && s.res.Best.Outcome == Match {
		return
	}
	if p := srv.Cached(debuginfod.Debuginfo, id); p != "" {
		s.one(p)
		if s.res.Best != nil && s.res.Best.Outcome == Match {
			return
		}
	}
	if !s.opt.Download {
		return
	}
	if !srv.Configured() {
		s.res.Server = debuginfod.ErrNotConfigured
		return
	}
	p, err := srv.Find(s.ctx, debuginfod.Debuginfo, id, s.verifyID(id))
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.res.Server = err
		}
		return
	}
	s.seen = nil // it may have been looked at before, in the cache, and been refused
	s.one(p)
}

// verifyID refuses files of another build than was asked for.
func (s *search) verifyID(id string) debuginfod.Verify {
	return func(path string) error {
		found, err := identifyPath(path)
		if err != nil {
			return err
		}
		if found.BuildID != id {
			return fmt.Errorf("its build-id is %s, not %s", orNone(found.BuildID), id)
		}
		return nil
	}
}

func orNone(s string) string {
	if s == "" {
		return "missing"
	}
	return s
}
