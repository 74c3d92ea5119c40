package formats_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/kdump"
)

// Open takes any format, and all the files of a split set.
func ExampleOpen() {
	im, err := formats.Open(context.Background(), []string{"vmcore"}, formats.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer im.Close()

	info := im.Info()
	release, _ := info.VMCoreInfo.Get("OSRELEASE")
	fmt.Println(info.Format, info.Machine, release)

	// Zero is data; what the dump does not hold is an error that says why.
	buf := make([]byte, 4096)
	n, err := im.ReadPhys(buf, 0x1000000)
	var missing *dumpfmt.PageError
	switch {
	case errors.As(err, &missing):
		fmt.Printf("%d bytes, then %#x is %v\n", n, missing.Addr, missing.State)
	case err != nil:
		log.Fatal(err)
	}
}

// A kdump.Writer writes a dump that holds some pages of another, in a form that every reader knows.
func ExampleOpen_copySomePages() {
	ctx := context.Background()
	im, err := formats.Open(ctx, []string{"vmcore"}, formats.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer im.Close()

	var pages dumpfmt.PageSet
	for pfn := range uint64(256) {
		if im.State(pfn).Readable() {
			pages.Add(pfn)
		}
	}
	out, err := os.Create("first-megabyte")
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	w, err := kdump.NewPageWriter(out, kdump.Config{Info: im.Info(), Pages: &pages, DumpLevel: 31})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := convert.Run(ctx, convert.Job{Source: im.Source(), Pages: &pages, Writer: w, ZeroPages: true}); err != nil {
		log.Fatal(err)
	}
}
