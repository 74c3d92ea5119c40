package initd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"kdx/capture/plan"
)

// stageWord is the first argument of a stage's process. The kernel gives words that it does not know to PID 1 as arguments, so that
// process is asked for as well: PID 1 never is a stage.
const stageWord = "stage"

// order is what PID 1 tells a stage: what earlier stages found out.
type order struct {
	// Target is an index of the plan's targets.
	Target int `json:"target"`
	// Mount is where its filesystem is mounted, Device the raw partition.
	Mount  string `json:"mount,omitempty"`
	Device string `json:"device,omitempty"`
	// Plain saves without understanding the kernel: every page but zeros.
	Plain bool `json:"plain,omitempty"`
	// Dir is the dump's directory on the target.
	Dir string `json:"dir,omitempty"`
	// Skip names modules that are not tried (again).
	Skip []string `json:"skip,omitempty"`
	// Unproven says that the dump has not been read back yet: another order comes when it has.
	Unproven bool `json:"unproven,omitempty"`
	// Mounts are the directories to unmount.
	Mounts []string `json:"mounts,omitempty"`
	// Stages are those that ran so far.
	Stages []Stage `json:"stages,omitempty"`
	// Memory is what a stage may take that was started ahead, when there was more or less of it.
	Memory *allowance `json:"memory,omitempty"`
}

// stage is the process of a stage.
type stage struct {
	*reporter
	orders *json.Decoder
	order  order
	args   []string
	log    *slog.Logger
}

// await waits for the next order of PID 1. A stage that was started ahead does what it can before.
func (s *stage) await() error {
	var o order
	if err := s.orders.Decode(&o); err != nil {
		return fmt.Errorf("no order came: %w", err)
	}
	s.order = o
	if o.Memory != nil {
		o.Memory.apply()
		setVictim(false)
	}
	return nil
}

// plan reads the plan. Each stage does so itself: what PID 1 holds stays small.
func (*stage) plan() (*plan.Plan, error) { return plan.Read(plan.Path) }

// target is the plan and the next order's target.
func (s *stage) target() (*plan.Plan, *plan.Target, error) {
	p, err := s.plan()
	if err != nil {
		return nil, nil, err
	}
	t, err := s.targetOf(p)
	return p, t, err
}

// targetOf waits for the next order, and is its target.
func (s *stage) targetOf(p *plan.Plan) (*plan.Target, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	if s.order.Target < 0 || s.order.Target >= len(p.Targets) {
		return nil, fmt.Errorf("the plan has no target %d", s.order.Target)
	}
	return &p.Targets[s.order.Target], nil
}

// stageFunc does the work of a stage. What it returns becomes the report's result.
type stageFunc func(ctx context.Context, s *stage) (any, error)

// runStage is the main function of a stage's process: args begin with its name. A panic is not caught: it ends the process with its trace, which is what PID 1 wants.
func runStage(args []string, table map[string]stageFunc) int {
	r := openReporter()
	limitStage(slices.Contains(args, aheadWord))
	if len(args) == 0 || table[args[0]] == nil {
		r.send(report{Error: fmt.Sprintf("there is no stage %q", strings.Join(args, " "))})
		return 1
	}
	s := &stage{reporter: r, orders: json.NewDecoder(os.Stdin), args: args[1:], log: slog.New(lineHandler{})}
	result, err := table[args[0]](context.Background(), s)
	out := report{}
	if result != nil {
		b, merr := json.Marshal(result)
		if merr != nil && err == nil {
			err = merr
		}
		out.Result = b
	}
	if err != nil {
		out.Error = err.Error()
	}
	r.send(out)
	if err != nil {
		return 1
	}
	return 0
}

// lineHandler writes records as lines that fit PID 1's journal, which adds the time.
type lineHandler struct {
	attrs []slog.Attr
}

func (lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	b.WriteByte('\n')
	_, err := os.Stdout.WriteString(b.String())
	return err
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lineHandler{append(slices.Clone(h.attrs), attrs...)}
}

func (h lineHandler) WithGroup(string) slog.Handler { return h }
