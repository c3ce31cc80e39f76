package state

import "time"

// Lock is a lease: who has it must take it again before it expires. Its token
// grows with each owner, so that what was begun under an earlier one can be
// told.
type Lock struct {
	Name    string    `json:"name"`
	Owner   string    `json:"owner"`
	Token   uint64    `json:"token"`
	Expires time.Time `json:"expires"`
}

// TakeLock takes a lock that is free or expired, or has it longer.
type TakeLock struct {
	second
	Name  string        `json:"name"`
	Owner string        `json:"owner"`
	For   time.Duration `json:"for"`
}

// ReleaseLock gives a lock back. It is not refused where the owner has lost it.
type ReleaseLock struct {
	second
	Name  string `json:"name"`
	Owner string `json:"owner"`
}

func (TakeLock) kind() string    { return "take_lock" }
func (ReleaseLock) kind() string { return "release_lock" }

// longestLock bounds a lease: who dies with it must not hold up the others.
const longestLock = 10 * time.Minute

func (cmd TakeLock) apply(ch *change) error {
	l, held := ch.Locks.Get(cmd.Name)
	switch {
	case cmd.Name == "" || cmd.Owner == "" || cmd.For <= 0 || cmd.For > longestLock:
		return refuse("a lock has a name, an owner and an end")
	case held && l.Owner != cmd.Owner && ch.now.Before(l.Expires):
		return refuse("lock %s is held by %s for %s", l.Name, l.Owner, Brief(l.Expires.Sub(ch.now)))
	case !held || l.Owner != cmd.Owner:
		l = Lock{Name: cmd.Name, Owner: cmd.Owner, Token: ch.index}
	}
	l.Expires = ch.now.Add(cmd.For)
	ch.Locks = ch.Locks.Put(cmd.Name, l)
	return nil
}

func (cmd ReleaseLock) apply(ch *change) error {
	if l, held := ch.Locks.Get(cmd.Name); held && l.Owner == cmd.Owner {
		ch.Locks = ch.Locks.Delete(cmd.Name)
	}
	return nil
}
