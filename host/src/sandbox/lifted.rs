//! What a guest hands over, copied within bounds. wasmtime counts what one call makes the host
//! copy, against the store's *fuel*, and ends the process where that is used up. Here the call is
//! told instead, and what is large by design, a body, has a bound of its own.

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Result, ValRaw, format_err};

/// A value that a guest hands over, unless it is more than one call may copy: then nothing of it is
/// kept.
#[derive(Debug)]
pub(super) enum Bounded<T> {
    Within(T),
    Beyond,
}

/// The body of a request or a response. It costs no fuel: a call has one at most, and it has no
/// more bytes than the guest's memory, where each has one place. Fuel is for what can name the same
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
        /// wasmtime's error has no public type. A test says when its text changes.
        const FUEL_USED_UP: &str = "fuel allocated for hostcalls has been exhausted";
        match lifted {
            Ok(value) => Ok(Self::Within(value)),
            Err(error) if error.root_cause().to_string().contains(FUEL_USED_UP) => Ok(Self::Beyond),
            Err(error) => Err(error),
        }
    }
}

// SAFETY: layout and type are those of `T`, and all that depends on them is done by `T`.
unsafe impl<T: ComponentType> ComponentType for Bounded<T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: as above; `T` reads, and only its outcome is changed.
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

// SAFETY: layout and type are those of `Vec<u8>`, which is `list<u8>`.
unsafe impl ComponentType for Bulk {
    type Lower = <Vec<u8> as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <Vec<u8> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <Vec<u8> as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: a `list<u8>` is its address and its length, two numbers of 32 bits in this order, and any
// address is good for bytes. `copy` reads no byte outside of the memory.
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
