//! The few values that are read out of the XML of AWS's query APIs. Pure.

use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};

/// The text of every element of this name, wherever it stands, in the order of the document.
pub(in crate::doctor) fn texts(xml: &str, name: &str) -> Result<Vec<String>, XmlDecodeError> {
    let mut document = Document::new(xml);
    let mut root = document.root_element()?;
    let mut found = Vec::new();
    collect(&mut root, name, &mut found)?;
    Ok(found)
}

/// The text of the first one.
pub(in crate::doctor) fn text(xml: &str, name: &str) -> Result<Option<String>, XmlDecodeError> {
    Ok(texts(xml, name)?.into_iter().next())
}

fn collect(
    scope: &mut ScopedDecoder<'_, '_>,
    name: &str,
    found: &mut Vec<String>,
) -> Result<(), XmlDecodeError> {
    while let Some(mut element) = scope.next_tag() {
        if element.start_el().local() == name {
            found.push(try_data(&mut element)?.into_owned());
        } else {
            collect(&mut element, name, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_at_any_depth_and_unescaped() {
        let xml = "<R xmlns=\"x\"><A><N>a&amp;b</N><B><N>c</N></B></A><E/><N/></R>";
        assert_eq!(texts(xml, "N").unwrap(), ["a&b", "c", ""]);
        assert_eq!(text(xml, "M").unwrap(), None);
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        assert!(texts("<html", "N").is_err());
        assert!(texts("", "N").is_err());
    }
}
