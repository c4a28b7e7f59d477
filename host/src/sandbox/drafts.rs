//! The *drafts* of WASI that this host has: `wasi:config/store` and `wasi:logging/logging`. Each
//! draft has a version of its own, and fits only itself. The functions have not changed over the
//! versions, so each module gets the interfaces by the names that it asks for.

use std::sync::Arc;

use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView;

use super::inherit;
use super::interface::Interface;
use super::output::{Name, Printer};
use super::state::HasState;
use crate::settings::Environment;

/// Why a value can't be had. This host always knows.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(dead_code)] // never constructed: the type belongs to the interface
enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)] // lifted only
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

/// Links the drafts that the component imports.
pub(super) fn add_to_linker<T: HasState>(
    linker: &mut Linker<T>,
    component: &Component,
) -> Result<()> {
    let imports = component.component_type();
    for (name, _) in imports.imports(component.engine()) {
        match Interface::parse(name) {
            Some(interface) if interface.is_wasi("config", "store") => add_config(linker, name)?,
            Some(interface) if interface.is_wasi("logging", "logging") => add_log(linker, name)?,
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn add_config<T: HasState>(linker: &mut Linker<T>, name: &str) -> Result<()> {
    type Value = Result<Option<String>, ConfigError>;
    type Values = Result<Vec<(String, String)>, ConfigError>;
    let mut config = linker.instance(name)?;
    config.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, T>, (key,): (String,)| -> wasmtime::Result<(Value,)> {
            let environment = environment(&mut store);
            let mut values = environment.config.iter();
            let value = values.find(|(name, _)| *name == key);
            Ok((Ok(value.map(|(_, value)| value.clone())),))
        },
    )?;
    config.func_wrap(
        "get-all",
        |mut store: StoreContextMut<'_, T>, (): ()| -> wasmtime::Result<(Values,)> {
            Ok((Ok(environment(&mut store).config.clone()),))
        },
    )
}

fn environment<T: HasState>(store: &mut StoreContextMut<'_, T>) -> Arc<Environment> {
    Arc::clone(&store.data_mut().state().settings().environment)
}

/// Lines go where the guest's standard error goes, within the same bounds.
fn add_log<T: HasState>(linker: &mut Linker<T>, name: &str) -> Result<()> {
    type Entry = (Level, String, String);
    linker.instance(name)?.func_wrap_async(
        "log",
        |mut store: StoreContextMut<'_, T>, (level, context, message): Entry| {
            let text = format!("{} {context}: {message}\n", level.word());
            let printer = printer(store.data_mut());
            Box::new(async move {
                match printer {
                    Some(printer) => printer.log(Name::Stderr, text.as_bytes()).await,
                    None => inherit::log(text.as_bytes()),
                }
                Ok(())
            })
        },
    )
}

/// The printer of a process, unless its output is the host's own.
fn printer<T: HasState>(data: &mut T) -> Option<Arc<Printer>> {
    // It comes with WASI.
    let _created = WasiView::ctx(data);
    data.state().printer()
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}
