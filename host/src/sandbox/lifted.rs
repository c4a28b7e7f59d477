//! Lifts guests' values within bounds. wasmtime counts the bytes that one call makes the host copy
//! against the store's *fuel*, and ends the process when the fuel is used up. With the types here
//! the stub gets an error instead, and bodies, which are large by design, are exempt.

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Result, ValRaw, format_err};

/// A value from the guest, or `Beyond` if it exceeds the bytes that one call may copy.
#[derive(Debug)]
pub(super) enum Bounded<T> {
    Within(T),
    Beyond,
}

/// The body of a request or a response. Lifting it takes no fuel: a call has at most one body, and
/// a body has at most as many bytes as the guest's memory. Fuel bounds lists that can name the same
/// bytes many times.
#[derive(Debug)]
pub struct Bulk(pub Vec<u8>);

impl<T> Bounded<T> {
    pub(super) fn within(self) -> Option<T> {
        match self {
            Self::Within(value) => Some(value),
            Self::Beyond => None,
        }
    }

    fn of(lifted: Result<T>) -> Result<Self> {
        /// wasmtime's error has no public type. A test fails if its text changes.
        const FUEL_USED_UP: &str = "fuel allocated for hostcalls has been exhausted";
        match lifted {
            Ok(value) => Ok(Self::Within(value)),
            Err(error) if error.root_cause().to_string().contains(FUEL_USED_UP) => Ok(Self::Beyond),
            Err(error) => Err(error),
        }
    }
}

// SAFETY: the layout and the type are those of `T`, and `T` does everything that depends on them.
unsafe impl<T: ComponentType> ComponentType for Bounded<T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: as above. `T` reads, and only the outcome is converted.
unsafe impl<T: Lift> Lift for Bounded<T> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        Self::of(T::linear_lift_from_flat(cx, ty, src))
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        Self::of(T::linear_lift_from_memory(cx, ty, bytes))
    }
}

impl Bulk {
    fn copy(cx: &LiftContext<'_>, start: u32, length: u32) -> Result<Self> {
        let start = usize::try_from(start)?;
        let bytes = cx.memory().get(start..).unwrap_or_default();
        let bytes = bytes.get(..usize::try_from(length)?);
        let bytes = bytes.ok_or_else(|| format_err!("a body lies outside of the memory"))?;
        Ok(Self(bytes.to_vec()))
    }
}

// SAFETY: the layout and the type are those of `Vec<u8>`, which is `list<u8>`.
unsafe impl ComponentType for Bulk {
    type Lower = <Vec<u8> as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <Vec<u8> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <Vec<u8> as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: a `list<u8>` is an address and a length, two 32-bit numbers in this order, and bytes need
// no alignment. `copy` reads no byte outside the memory.
unsafe impl Lift for Bulk {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        _: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        let [start, length]: &[ValRaw; 2] = src;
        Self::copy(cx, start.get_u32(), length.get_u32())
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        _: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        let (start, length) = bytes.split_at(size_of::<u32>());
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
        Self::copy(cx, number(start)?, number(length)?)
    }
}
