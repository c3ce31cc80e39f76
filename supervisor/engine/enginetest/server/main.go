// Command server is what the containers of the tests run. Its first argument
// says what it does:
//
//	serve PORT      answer HTTP until SIGTERM, which ends it with code 0
//	stubborn PORT   the same, but SIGTERM is ignored
//	exit CODE       end at once
//	burn            keep one core busy
//	hold MIB PATH   use memory, and keep it; wait for the file first if given
//	print N         write N lines, odd ones to stderr, then sleep
//	cat CODE        copy stdin to stdout, say "done" on stderr, end with CODE
//	file PATH       succeed if the file exists
//	touch PATH      make a file
//	rm PATH         remove a file
//	signal          print the first signal that comes, then end
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("server: what shall it do?")
	}
	if err := run(os.Args[1], append(os.Args[2:], "", "")); err != nil {
		log.Fatal(err)
	}
}

func run(what string, args []string) error {
	switch what {
	case "serve", "stubborn":
		return serve(args[0], what == "stubborn")
	case "exit":
		return exit(args[0])
	case "burn":
		return burn()
	case "hold":
		return hold(args[0], args[1])
	case "print":
		return lines(args[0])
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "done")
		return exit(args[0])
	case "file":
		_, err := os.Stat(args[0])
		return err
	case "touch":
		return os.WriteFile(args[0], nil, 0o600)
	case "rm":
		return os.Remove(args[0])
	case "signal":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals)
		fmt.Println(<-signals)
		return nil
	}
	return fmt.Errorf("server: unknown mode %q", what)
}

func exit(code string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	os.Exit(n)
	return nil
}

func serve(port string, stubborn bool) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range signals {
			if !stubborn {
				fmt.Println("ends on", s)
				os.Exit(0)
			}
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		name, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, name)
	})
	return http.ListenAndServe(":"+port, nil)
}

func burn() error {
	for n := uint64(1); ; n = n*6364136223846793005 + 1 {
		if n == 0 {
			fmt.Println("round")
		}
	}
}

func hold(mib, path string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	for path != "" {
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	var held [][]byte
	for range n {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
	}
	fmt.Println("holds", len(held), "MiB")
	for {
		time.Sleep(time.Hour)
	}
}

func lines(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		w := os.Stdout
		if i%2 == 1 {
			w = os.Stderr
		}
		fmt.Fprintln(w, "line", i)
		// The engine reads the two pipes one after the other.
		time.Sleep(5 * time.Millisecond)
	}
	for {
		time.Sleep(time.Hour)
	}
}
