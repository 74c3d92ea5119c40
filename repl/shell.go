package repl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

func (s *Session) shellCommand(text string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", text)
	cmd.Stdout, cmd.Stderr = s.cfg.Out, s.cfg.Err
	return cmd
}

// shell runs !CMD, or with nothing behind the ! the user's shell.
func (s *Session) shell(text string) (Status, error) {
	cmd := s.shellCommand(text)
	if text == "" {
		if !s.interactive {
			return Usage, errors.New("! without a command is a shell for the prompt; there is none here")
		}
		sh := os.Getenv("SHELL")
		if sh == "" {
			sh = "/bin/sh"
		}
		cmd = exec.Command(sh)
		cmd.Stdout, cmd.Stderr = s.cfg.Out, s.cfg.Err
	}
	if s.interactive || !s.readsStdin {
		cmd.Stdin = s.cfg.In
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s.interactive {
			return OK, nil // the shell has said why
		}
		return Failed, fmt.Errorf("!%s: %w", text, err)
	}
	if err != nil {
		return Failed, fmt.Errorf("!%s: %w", text, err)
	}
	return OK, nil
}

// pipelineError is what the end of a pipeline means: the exit status of its programs is theirs, but one that could not
// be started answered nothing.
func pipelineError(pipeline string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if code := exit.ExitCode(); code == 126 || code == 127 {
		return fmt.Errorf("the shell could not start %q", pipeline)
	}
	return nil
}
