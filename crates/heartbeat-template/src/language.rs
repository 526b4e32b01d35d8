//! The part of Jinja2 that a template may use.
//!
//! A template can name, compare, filter, choose and repeat what the document has. It cannot build lists: minijinja does
//! not count the items of `list * 1000000000`, of `list + list`, or of a list that contains itself twice, and each of
//! them keeps it busy for as long as the author likes, even while it compiles.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::{Environment, Error, Value, filters};

use crate::TemplateError;

/// Filters that a template may use.
pub const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];
/// Filters of minijinja that would put a list into another one twice.
const NO_FILTERS: [&str; 7] = ["batch", "chain", "groupby", "pprint", "slice", "sum", "zip"];
/// Tests that a template may use after `is`.
pub const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "even",
    "false",
    "float",
    "in",
    "integer",
    "iterable",
    "lower",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];
/// Functions of minijinja: they make lists and tables.
const NO_FUNCTIONS: [&str; 4] = ["range", "dict", "debug", "namespace"];

/// minijinja with the names of the language alone.
pub(crate) fn environment(steps: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(steps));
    NO_FILTERS.into_iter().for_each(|name| environment.remove_filter(name));
    NO_FUNCTIONS.into_iter().for_each(|name| environment.remove_global(name));
    // The one of minijinja takes an indentation without a bound.
    environment.add_filter("tojson", to_json);
    environment
}

fn to_json(value: &Value) -> Result<Value, Error> {
    filters::tojson(value, None, std::iter::empty::<(&str, Value)>().collect())
}

/// Refuses what is not part of the language.
pub(crate) fn check(template: &Stmt<'_>) -> Result<(), TemplateError> {
    match template {
        Stmt::Template(template) => body(&template.children),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emitted) => expression(&emitted.expr),
        Stmt::ForLoop(repeated) if repeated.recursive => {
            Err(not_allowed("`recursive` loop", repeated.span().start_line))
        }
        Stmt::ForLoop(repeated) => {
            expression(&repeated.iter)?;
            repeated.filter_expr.as_ref().map_or(Ok(()), expression)?;
            body(&repeated.body)?;
            body(&repeated.else_body)
        }
        Stmt::IfCond(choice) => {
            expression(&choice.expr)?;
            body(&choice.true_body)?;
            body(&choice.false_body)
        }
        Stmt::WithBlock(with) => {
            with.assignments.iter().try_for_each(|(_, value)| expression(value))?;
            body(&with.body)
        }
        Stmt::Set(set) => expression(&set.expr),
        Stmt::SetBlock(set) => {
            set.filter.as_ref().map_or(Ok(()), expression)?;
            body(&set.body)
        }
        Stmt::FilterBlock(filtered) => {
            expression(&filtered.filter)?;
            body(&filtered.body)
        }
        Stmt::AutoEscape(escaped) => Err(not_allowed("`autoescape`", escaped.span().start_line)),
        Stmt::Do(called) => Err(not_allowed("`do`", called.span().start_line)),
    }
}

fn not_allowed(what: &'static str, line: u16) -> TemplateError {
    TemplateError::NotAllowed { what, line }
}

fn body(statements: &[Stmt<'_>]) -> Result<(), TemplateError> {
    statements.iter().try_for_each(check)
}

fn expression(found: &Expr<'_>) -> Result<(), TemplateError> {
    let line = found.span().start_line;
    match found {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::List(_) | Expr::Tuple(_) if found.as_const().is_some() => Ok(()),
        Expr::List(_) | Expr::Tuple(_) => Err(not_allowed("list with variables in it", line)),
        Expr::Map(_) => Err(not_allowed("table of its own", line)),
        Expr::Call(_) => Err(not_allowed("functions", line)),
        Expr::UnaryOp(sign) => expression(&sign.expr),
        Expr::BinOp(operator) => {
            match operator.op {
                BinOpKind::Add => return Err(not_allowed("`+`", line)),
                BinOpKind::Mul => return Err(not_allowed("`*`", line)),
                BinOpKind::Pow => return Err(not_allowed("`**`", line)),
                _ => {}
            }
            expression(&operator.left)?;
            expression(&operator.right)
        }
        Expr::Compare(compared) => {
            expression(&compared.expr)?;
            compared.ops.iter().try_for_each(|operator| expression(&operator.expr))
        }
        Expr::IfExpr(choice) => {
            expression(&choice.test_expr)?;
            expression(&choice.true_expr)?;
            choice.false_expr.as_ref().map_or(Ok(()), expression)
        }
        Expr::Filter(filter) => {
            if !FILTERS.contains(&filter.name) {
                return Err(TemplateError::UnknownFilter { name: filter.name.to_owned(), line });
            }
            filter.expr.as_ref().map_or(Ok(()), expression)?;
            arguments(&filter.args, line)
        }
        Expr::Test(test) => {
            if !TESTS.contains(&test.name) {
                return Err(TemplateError::UnknownTest { name: test.name.to_owned(), line });
            }
            expression(&test.expr)?;
            arguments(&test.args, line)
        }
        Expr::GetAttr(attribute) => expression(&attribute.expr),
        Expr::GetItem(item) => {
            expression(&item.expr)?;
            expression(&item.subscript_expr)
        }
        Expr::Slice(slice) => {
            expression(&slice.expr)?;
            [&slice.start, &slice.stop, &slice.step].into_iter().flatten().try_for_each(expression)
        }
    }
}

fn arguments(given: &[CallArg<'_>], line: u16) -> Result<(), TemplateError> {
    given.iter().try_for_each(|argument| match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) => expression(value),
        CallArg::PosSplat(_) | CallArg::KwargSplat(_) => Err(not_allowed("`*` before an argument", line)),
    })
}
