//! The document before translation: what of its fragments is known goes, and a registry answers.

use crate::decode::DECODES;
use crate::steps;
use tract_nnef::ast::parse::parse_fragments;
use tract_nnef::ast::ProtoModel;
use tract_nnef::internal::*;

/// As formats/nnef/decode_fragments.cpp has them.
const TEXTS: &str = include_str!("fragments.nnef");
const REGISTRY: &str = "espalier";

fn known() -> TractResult<Vec<FragmentDef>> {
    parse_fragments(TEXTS)
}

/// Types of parameters are left out: files differ in what they call tensors of 8 bits.
pub fn is_same(a: &FragmentDef, b: &FragmentDef) -> bool {
    let names = |f: &FragmentDef| {
        let parameters: Vec<_> =
            f.decl.parameters.iter().map(|p| (p.id.clone(), p.lit.clone())).collect();
        (parameters, f.decl.results.iter().map(|r| r.id.clone()).collect::<Vec<_>>())
    };
    a.decl.id == b.decl.id && names(a) == names(b) && a.body == b.body
}

/// tract looks for an operator among the document's own fragments first: those whose text is known
/// are taken out. One of the same name that does something else stays, and is what runs.
pub fn drop_known_fragments(proto: &mut ProtoModel) -> TractResult<()> {
    let known = known()?;
    proto.doc.fragments.retain(|f| !known.iter().any(|k| is_same(k, f)));
    proto.doc.extension.push(("tract_registry".into(), REGISTRY.to_string()));
    Ok(())
}

/// Decodes, and tract's scan, which is asked whether its body is a step that the kernels have.
pub fn registry(core: &Registry) -> TractResult<Registry> {
    let mut registry = Registry::new(REGISTRY).with_doc("Packed weights of espalier.");
    for def in known()? {
        let name = def.decl.id.0.clone();
        let build = DECODES.iter().find(|d| d.0 == name);
        let (_, to_tract) = *build.with_context(|| format!("no decode for {name}"))?;
        let decl = PrimitiveDecl { decl: def.decl, docstrings: None, to_tract };
        registry.primitives.insert(name.as_str().into(), decl);
    }
    let scan = core.primitives.get(&Identifier::from(steps::SCAN)).context("tract has no scan")?;
    let decl = PrimitiveDecl { to_tract: steps::scan, ..scan.clone() };
    registry.primitives.insert(steps::SCAN.into(), decl);
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are those that espalier writes.
    #[test]
    fn texts_are_the_writers() {
        let source =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../formats/nnef/decode_fragments.cpp");
        let Ok(source) = std::fs::read_to_string(source) else {
            eprintln!("skipped: the crate is alone");
            return;
        };
        let known = known().unwrap();
        let mut compared = 0;
        for piece in source.split("R\"(").skip(1) {
            let text = piece.split(")\"").next().unwrap();
            let def = parse_fragments(text).unwrap().remove(0);
            let mine = known.iter().find(|k| k.decl.id == def.decl.id);
            match mine {
                Some(mine) => {
                    assert!(is_same(mine, &def), "{text}");
                    compared += 1;
                }
                // Products: their bodies call decodes, and stay.
                None => assert!(
                    def.decl.id.0.starts_with("block_sparse_matmul")
                        || def.decl.id.0.starts_with("block_sparse_linear"),
                    "{text}"
                ),
            }
        }
        assert!(compared >= 8, "{compared}");
    }
}
