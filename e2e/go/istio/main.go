// Command istio holds istiod and the CNI agent in one binary and chooses by the name it is called
// with. The plugin is a program of its own: see plugin/main.go.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	_ "github.com/KimMachineGun/automemlimit"

	install "istio.io/istio/cni/pkg/cmd"
	discovery "istio.io/istio/pilot/cmd/pilot-discovery/app"
	"istio.io/istio/pkg/log"
)

func main() {
	programs := map[string]func() error{
		"pilot-discovery": func() error {
			log.EnableKlogWithCobra()
			return discovery.NewRootCommand().Execute()
		},
		"install-cni": func() error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return install.GetCommand().ExecuteContext(ctx)
		},
	}
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "istio: no program is called %q; link one of pilot-discovery, install-cni\n", name)
		os.Exit(2)
	}
	if err := program(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
