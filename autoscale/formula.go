package autoscale

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// formula is ceil(members × use / target) and what was made of it.
type formula struct {
	members, use, target float64
	// doubled are the measured instances whose double was more; 0 for none.
	doubled int
	// oneFewerThan is the count whose predecessor was less; 0 for none.
	oneFewerThan int
	// atLeastOne says that the ratio alone gave 0.
	atLeastOne bool
	result     int
}

// String writes the arithmetic with as many digits as it takes to come to the
// same result: "ceil(2 × 0.93 / 0.50) = 4".
func (f formula) String() string {
	ratio := f.ratio()
	switch {
	case f.doubled > 0:
		ratio = fmt.Sprintf("max(%s, 2 × %d)", ratio, f.doubled)
	case f.oneFewerThan > 0:
		ratio = fmt.Sprintf("min(%s, %d − 1)", ratio, f.oneFewerThan)
	case f.atLeastOne:
		ratio = fmt.Sprintf("max(%s, 1)", ratio)
	}
	return ratio + " = " + strconv.Itoa(f.result)
}

func (f formula) ratio() string {
	exact := instances(f.members*f.use, f.target)
	const fewest, most = 2, 9
	digits := fewest
	for digits < most && instances(rounded(f.members, digits)*rounded(f.use, digits), rounded(f.target, digits)) != exact {
		digits++
	}
	ofTarget := digits
	if math.Abs(rounded(f.target, fewest)-f.target) < epsilon {
		ofTarget = fewest
	}
	return fmt.Sprintf("ceil(%s × %.*f / %.*f)", short(f.members, digits), digits, f.use, ofTarget, f.target)
}

// overloadFormula writes what a load would be on the rest: "1.02 / 1 = 1.02 >
// 0.9 × 0.70".
func overloadFormula(load float64, rest int, above float64) string {
	if rest < 1 {
		return fmt.Sprintf("%.2f on none that is ready > %.1f × %.2f", load, overloadHeadroom, above)
	}
	return fmt.Sprintf("%.2f / %d = %.2f > %.1f × %.2f", load, rest, load/float64(rest), overloadHeadroom, above)
}

func rounded(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}

// short writes a number without zeros at its end: a mean of counts is mostly
// whole.
func short(x float64, digits int) string {
	s := strconv.FormatFloat(x, 'f', digits, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
