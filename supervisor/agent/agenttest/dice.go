package agenttest

import (
	"sync"
	"time"
)

// Dice draws from a seed. Each name has a sequence of its own, so that what
// one part draws does not depend on how often others did before it: with many
// goroutines their order is not the same in every run.
type Dice struct {
	seed uint64
	mu   sync.Mutex
	rows map[string]uint64
}

// NewDice makes the dice of a seed.
func NewDice(seed uint64) *Dice { return &Dice{seed: seed, rows: map[string]uint64{}} }

// Float draws the name's next number from [0, 1).
func (d *Dice) Float(name string) float64 {
	d.mu.Lock()
	n := d.rows[name]
	d.rows[name] = n + 1
	d.mu.Unlock()
	// FNV-1a of the name, then the finish of splitmix64.
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	z := d.seed*0x9e3779b97f4a7c15 ^ h + (n+1)*0xd1342543de82ef95
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// Chance is true with probability p.
func (d *Dice) Chance(name string, p float64) bool { return d.Float(name) < p }

// Int draws from [0, n).
func (d *Dice) Int(name string, n int) int { return int(d.Float(name) * float64(n)) }

// Between draws from [low, high).
func (d *Dice) Between(name string, low, high time.Duration) time.Duration {
	return low + time.Duration(d.Float(name)*float64(high-low))
}
