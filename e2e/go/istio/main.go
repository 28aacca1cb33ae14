// Command istio holds every Istio program of the local cluster in one binary and chooses by the
// name it is called with. istio-cni is copied to nodes by install-cni under that name.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	_ "github.com/KimMachineGun/automemlimit"
	"github.com/containernetworking/cni/pkg/skel"
	cniversion "github.com/containernetworking/cni/pkg/version"

	install "istio.io/istio/cni/pkg/cmd"
	"istio.io/istio/cni/pkg/plugin"
	discovery "istio.io/istio/pilot/cmd/pilot-discovery/app"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/version"
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
		"istio-cni": plug,
	}
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "istio: no program is called %q; link one of pilot-discovery, install-cni, istio-cni\n", name)
		os.Exit(2)
	}
	if err := program(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// plug answers the container runtime as a CNI plugin; its own errors go to standard output as JSON.
func plug() error {
	if err := log.Configure(plugin.GetLoggingOptions(nil)); err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	functions := skel.CNIFuncs{Add: plugin.CmdAdd, Del: plugin.CmdDelete, Check: plugin.CmdCheck}
	failure := skel.PluginMainFuncsWithError(functions, cniversion.All, "CNI plugin istio-cni "+version.Info.Version)
	if failure == nil {
		return nil
	}
	if err := failure.Print(); err != nil {
		return err
	}
	return failure
}
