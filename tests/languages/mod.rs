//! Workers in all languages: what `new` makes is built with the language's own tools, tested and
//! served, and the examples in these languages do what their READMEs say.

mod examples;
mod readme;
mod table;
mod templates;
mod toolchains;
