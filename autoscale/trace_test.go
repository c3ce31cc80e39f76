package autoscale

import (
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestTraces runs recorded request rates through the loop. The traces are not
// part of the project: SUPERVISORD_TRACES names a directory of CSV files with
// the columns timestamp_seconds,requests_per_second.
func TestTraces(t *testing.T) {
	dir := os.Getenv("SUPERVISORD_TRACES")
	if dir == "" {
		t.Skip("needs request traces: set SUPERVISORD_TRACES to their directory")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no trace in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			rates, mean := readTrace(t, file)
			// One instance carries a third of the mean rate, so that the mean
			// takes six at the target.
			p := plant{policy: Policy{Min: 2, Max: 50, CPU: band()}, startDelay: 300 * time.Millisecond, demand: func(d time.Duration) float64 {
				return 3 * rates[int(d/time.Second)] / mean
			}}
			r := p.run(6, time.Duration(len(rates))*time.Second)
			t.Log(r)
			for _, d := range r.changes {
				t.Log(d.At.Sub(now()), d.Sentence("it"))
			}
			if beyond := float64(r.full) / float64(r.seconds); beyond > 0.01 {
				t.Errorf("%.2f %% of the time beyond capacity", 100*beyond)
			}
			if over := float64(r.over) / float64(r.seconds); over > 0.05 {
				t.Errorf("%.2f %% of the time above the line", 100*over)
			}
			if perHour := float64(len(r.changes)) / (float64(r.seconds) / 3600); perHour > 60 {
				t.Errorf("%.0f changes an hour", perHour)
			}
		})
	}
}

// readTrace returns the rate of every second, and their mean.
func readTrace(t *testing.T, file string) (rates []float64, mean float64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := csv.NewReader(f)
	header, err := rows.Read()
	if err != nil || !slices.Equal(header, []string{"timestamp_seconds", "requests_per_second"}) {
		t.Fatalf("%s begins with %v: %v", file, header, err)
	}
	sum := 0.0
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return rates, sum / float64(len(rates))
		}
		if err != nil {
			t.Fatal(err)
		}
		rate, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatalf("%s, second %s: %v", file, row[0], err)
		}
		rates = append(rates, rate)
		sum += rate
	}
}
