//! One file per op: formula, forward, backward, reference, judges.

pub mod adamw;
pub mod answer;
pub mod attention;
pub mod balance;
pub mod bias;
pub mod cross_entropy;
pub mod dora;
pub mod dropout;
pub mod embed;
pub mod experts;
pub mod fp8;
pub mod linear;
pub mod preference;
pub mod rmsnorm;
pub mod rope;
pub mod route;
pub mod rows;
pub mod swiglu;
pub mod unpack;
