package agent

import "testing"

func TestTally(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sick   bool
		checks string // + passed, - failed
		want   string // S sick, . well, after each
	}{
		{"well all the time", false, "+++", "..."},
		{"three in a row", false, "---", "..S"},
		{"never three in a row", false, "--+--+--+", "........."},
		{"well again after two", false, "---++", "..SS."},
		{"never two in a row", false, "---+-+-", "..SSSSS"},
		{"known to be sick", true, "-+-++", "SSSS."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := tally{fall: 3, rise: 2, sick: tc.sick}
			got := ""
			for _, c := range tc.checks {
				v.take(c == '+')
				got += map[bool]string{true: "S", false: "."}[v.sick]
			}
			if got != tc.want {
				t.Errorf("%s gives %s, want %s", tc.checks, got, tc.want)
			}
		})
	}
}
