//go:build !linux || !amd64

package main

import (
	"context"
	"errors"
)

func runGuest(context.Context, *lab, []string) error {
	return errors.New("the lab's guests are x86-64 Linux")
}
