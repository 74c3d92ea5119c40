package analyze_test

import (
	"context"
	"fmt"
	"log"

	"kdx/analyze"
	"kdx/analyze/task"
	"kdx/dumpfmt/formats"
)

// Who crashed?
func Example() {
	ctx := context.Background()
	img, err := formats.Open(ctx, []string{"../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer img.Close()
	k, err := analyze.Open(ctx, img, analyze.Options{})
	if err != nil {
		log.Fatal(err)
	}
	tasks, err := task.Read(k.View(ctx))
	if err != nil {
		log.Fatal(err)
	}
	crashed := tasks.Panic()
	fmt.Printf("%d tasks; PID %d (%s) crashed on CPU %d\n", len(tasks.Tasks), crashed.PID, crashed.Comm, crashed.CPU)
	// Output: 285 tasks; PID 534 (lab-die) crashed on CPU 0
}
