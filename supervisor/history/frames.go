package history

import (
	"slices"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

// frames are the newest frames of one service, ascending in time.
//
// Elements that were handed out are never written again: new ones are appended
// behind them, and when the array is full the ones still wanted move to a new
// one. So a reader may keep its view for as long as it likes, and reading
// copies nothing. The move costs one copy a frame in keep/4 appends.
type frames struct {
	list []autoscale.Frame
	// span is how far back from the newest frame is kept, 0 for as far as
	// there is room.
	span time.Duration
}

func (f *frames) add(frame autoscale.Frame) {
	if n := len(f.list); n > 0 && frame.At.Before(f.list[n-1].At) {
		// The clock was set back. Appending after the cut would write into
		// what readers hold, so the rest moves.
		f.list = slices.Clone(f.list[:f.after(frame.At)])
	}
	if len(f.list) == cap(f.list) {
		f.move(frame.At)
	}
	f.list = append(f.list, frame)
}

// move makes room for a quarter more than what stays.
func (f *frames) move(now time.Time) {
	stay := f.list[max(0, len(f.list)-(autoscale.MaxFrames-1)):]
	if f.span > 0 {
		i, _ := slices.BinarySearchFunc(stay, now.Add(-f.span), byTime)
		stay = stay[i:]
	}
	moved := make([]autoscale.Frame, len(stay), len(stay)+max(16, len(stay)/4))
	copy(moved, stay)
	f.list = moved
}

// view returns the frames that are wanted, MaxFrames at the most.
func (f *frames) view() []autoscale.Frame {
	list := f.list[max(0, len(f.list)-autoscale.MaxFrames):]
	if n := len(list); n > 0 && f.span > 0 {
		i, _ := slices.BinarySearchFunc(list, list[n-1].At.Add(-f.span), byTime)
		list = list[i:]
	}
	return slices.Clip(list)
}

// after is the index of the first frame later than a moment.
func (f *frames) after(at time.Time) int {
	i, _ := slices.BinarySearchFunc(f.list, at.Add(1), byTime)
	return i
}

func byTime(f autoscale.Frame, at time.Time) int { return f.At.Compare(at) }
