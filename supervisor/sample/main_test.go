package sample

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
)

// kit is shared by the tests of this package: one image for all.
var kit enginetest.Kit

func TestMain(m *testing.M) {
	code := m.Run()
	if err := kit.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
