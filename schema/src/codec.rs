//! How values of `model` become values of Postgres and back.

use model::Word;
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer},
};
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef},
};

pub(crate) use jiff_sqlx::Timestamp as Time;

/// A database enum, read and written by its spelling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spelled<T>(pub(crate) T);

impl<T> Type<Postgres> for Spelled<T> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl<T> PgHasArrayType for Spelled<T> {
    fn array_type_info() -> PgTypeInfo {
        <&str as PgHasArrayType>::array_type_info()
    }
}

impl<T: DeserializeOwned> Decode<'_, Postgres> for Spelled<T> {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let spelling: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = value.as_str()?.into_deserializer();
        Ok(Self(T::deserialize(spelling)?))
    }
}

impl<T: Serialize> Encode<'_, Postgres> for Spelled<T> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let quoted = serde_json::to_string(&self.0)?;
        <&str as Encode<'_, Postgres>>::encode_by_ref(&quoted.trim_matches('"'), buffer)
    }
}

/// A slug of DigitalOcean. There are a few dozen of them over all rows, so equal ones share their memory.
#[derive(Clone, Debug)]
pub(crate) struct Slug(pub(crate) Word);

impl Type<Postgres> for Slug {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl Decode<'_, Postgres> for Slug {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(Word::new(value.as_str()?)))
    }
}

/// DigitalOcean's ids are positive and far below 2^63, which the column's constraint and this keep so.
pub(crate) fn droplet_id(id: i64) -> model::DropletId {
    model::DropletId(id.unsigned_abs())
}

/// The id as Postgres takes it; beyond 2^63 it becomes one that the column's constraint refuses.
pub(crate) fn bigint(id: model::DropletId) -> i64 {
    i64::try_from(id.0).unwrap_or(-1)
}
